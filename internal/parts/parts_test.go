package parts

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fake "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/erasure"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/registry"
	"github.com/agibake/agibake/internal/seal"
	"github.com/agibake/agibake/internal/state"
)

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func layout(t testing.TB) *artifact.Layout {
	l, err := artifact.CreateLayout(filepath.Join(t.TempDir(), "layout"))
	fatal(t, err)
	return l
}

// captured is a snapshot of a few MiB.
func captured(t testing.TB) (*artifact.Layout, v1.Descriptor) {
	dir := t.TempDir()
	noise := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, data := range map[string][]byte{"models/m.bin": noise, "memory/notes.jsonl": []byte("{\"id\":1}\n"), "boot/startup.txt": []byte("Кто ты?\n")} {
		fatal(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		fatal(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	list, err := state.Scan(t.Context(), dir, state.ScanOptions{})
	fatal(t, err)
	l := layout(t)
	c, err := state.Capture(t.Context(), l, list, state.Options{Tags: []string{"one", "two"}, Info: state.Info{Created: time.Unix(1e9, 0)}})
	fatal(t, err)
	return l, c.Index
}

func options(key *state.Seal) SplitOptions {
	return SplitOptions{Needed: 2, Tags: []string{"two", "one"}, Base: "agi-state", Title: "a title", Seal: key}
}

func folders(t testing.TB, n int) (list []Place) {
	dir := t.TempDir()
	for i := range n {
		list = append(list, Folder(filepath.Join(dir, fmt.Sprint(i))))
	}
	return list
}

func found(t testing.TB, places []Place) *Parts {
	t.Helper()
	p, err := Find(t.Context(), places, "", func(err error) { t.Error(err) })
	fatal(t, err)
	fatal(t, p.Examine(t.Context(), nil))
	return p
}

func newKey(t testing.TB) *state.Seal {
	secret, err := seal.NewSecret()
	fatal(t, err)
	return &state.Seal{Secret: secret, Wraps: []seal.Wrap{{Kind: "age", Data: []byte("wrapped")}}}
}

// opens gives a secret for the wraps of newKey.
func (k keeper) open(_ context.Context, wraps []seal.Wrap) (*seal.Secret, error) {
	if len(wraps) != 1 || string(wraps[0].Data) != "wrapped" {
		return nil, fmt.Errorf("wraps %v", wraps)
	}
	return k.Secret, nil
}

type keeper struct{ *state.Seal }

func TestThereAndBack(t *testing.T) {
	l, root := captured(t)
	server := httptest.NewServer(fake.New(fake.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repo, err := registry.Open(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/agi/parts", registry.Options{State: t.TempDir()})
	fatal(t, err)
	layerSize = 1 << 20 // several layers
	defer func() { layerSize = 256 << 20 }()
	key := newKey(t)
	for name, key := range map[string]*state.Seal{"plain": nil, "sealed": key} {
		places := append(folders(t, 2), InRegistry(repo, ""))
		set, parts, err := Split(t.Context(), l, root, places, options(key))
		fatal(t, err)
		if len(parts) != 3 || set.Name != "a title" || parts[2].Size != parts[0].Size {
			t.Errorf("%s: %+v %+v", name, set, parts)
		}
		p, err := Find(t.Context(), places[1:], set.ID[:6], nil)
		fatal(t, err)
		fatal(t, p.Examine(t.Context(), nil))
		to := layout(t)
		j, err := p.Join(t.Context(), to, keeper{key}.open, nil)
		fatal(t, err)
		if j.Digest != root.Digest || strings.Join(j.Tags, " ") != "one two" || j.Sealed != (key != nil) {
			t.Errorf("%s: %+v", name, j)
		}
		x, err := state.Open(t.Context(), to, "two", nil)
		fatal(t, err)
		_, err = x.Verify(t.Context(), to, nil)
		fatal(t, err)
	}
}

func TestStreamIsCanonical(t *testing.T) {
	l, root := captured(t)
	var first []byte
	for _, tags := range [][]string{{"a", "b"}, {"b", "a"}} {
		st, err := newStream(t.Context(), l, root, tags)
		fatal(t, err)
		var b bytes.Buffer
		fatal(t, st.write(t.Context(), &b))
		if int64(b.Len()) != st.size() {
			t.Errorf("%d bytes, announced %d", b.Len(), st.size())
		}
		if first != nil && !bytes.Equal(first, b.Bytes()) {
			t.Error("two streams of one snapshot differ")
		}
		first = b.Bytes()
	}
}

func TestSealedSize(t *testing.T) {
	secret, err := seal.NewSecret()
	fatal(t, err)
	for _, n := range []int{0, 1, 65535, 65536, 65537, 131072, 300000} {
		var b bytes.Buffer
		w, err := secret.Encrypt(&b)
		fatal(t, err)
		_, err = w.Write(make([]byte, n))
		fatal(t, err)
		fatal(t, w.Close())
		if want, err := sealedSize(secret, int64(n)); err != nil || want != int64(b.Len()) {
			t.Errorf("%d bytes: %d, predicted %d, %v", n, b.Len(), want, err)
		}
	}
}

func TestRepairWritesTheSameBytes(t *testing.T) {
	l, root := captured(t)
	places := folders(t, 3)
	_, parts, err := Split(t.Context(), l, root, places, options(newKey(t)))
	fatal(t, err)
	before := map[string][]byte{}
	for _, p := range parts {
		before[p.Where], err = os.ReadFile(p.Where)
		fatal(t, err)
	}
	damaged := bytes.Clone(before[parts[0].Where])
	damaged[20]++ // in its head; the rest is good
	fatal(t, os.WriteFile(parts[0].Where, damaged, 0o600))
	fatal(t, os.Remove(parts[2].Where))
	p := found(t, places)
	if s := p.Report.Parts[0].State; s != erasure.Damaged {
		t.Errorf("part 1 is %s", s)
	}
	done, left, err := p.Repair(t.Context(), nil)
	if err != nil || len(done) != 2 || len(left) != 0 {
		t.Fatal(done, left, err)
	}
	for path, want := range before {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what it was: %v", path, err)
		}
	}
}

// TestPartWithoutHeadAndTail is still found by its name and written anew.
func TestPartWithoutHeadAndTail(t *testing.T) {
	l, root := captured(t)
	places := folders(t, 3)
	_, parts, err := Split(t.Context(), l, root, places, options(nil))
	fatal(t, err)
	want, err := os.ReadFile(parts[1].Where)
	fatal(t, err)
	fatal(t, os.WriteFile(parts[1].Where, make([]byte, 1000), 0o600))
	_, _, err = found(t, places).Repair(t.Context(), nil)
	fatal(t, err)
	if got, err := os.ReadFile(parts[1].Where); err != nil || !bytes.Equal(got, want) {
		t.Error("not what it was", err)
	}
}

func TestHostileStreams(t *testing.T) {
	l, root := captured(t)
	st, err := newStream(t.Context(), l, root, []string{"one"})
	fatal(t, err)
	var good bytes.Buffer
	fatal(t, st.write(t.Context(), &good))
	one := st.order[0]
	zeros := blobFolder + strings.Repeat("0", 64)
	index := func(text string) member { return member{v1.ImageIndexFile, text} }
	for name, members := range map[string][]member{
		"another blob":    {{blobFolder + one.Digest.Encoded(), "something else"}, index(string(st.index))},
		"no digest":       {{blobFolder + "../../../x", "x"}, index(string(st.index))},
		"a foreign name":  {{"../x", "x"}},
		"out of order":    {{v1.ImageLayoutFile, "{}"}, index(string(st.index))},
		"twice":           {index(string(st.index)), index(string(st.index))},
		"no index":        {{v1.ImageLayoutFile, "{}"}},
		"blobs missing":   {index(string(st.index)), {v1.ImageLayoutFile, "{}"}},
		"empty index":     {index("{}")},
		"index of null":   {index("null")},
		"key alone":       {{"key.age", "x"}},
		"key of a kind":   {{"key.age", "x"}, {"layout.tar", "x"}},
		"key too long":    {{"key.age", strings.Repeat("x", 70000)}, {sealedFile, "x"}},
		"sealed by noone": {{"key.age", "wrapped"}, {sealedFile, "x"}},
		"zeros":           {{zeros, ""}},
		"nothing":         nil,
	} {
		to := layout(t)
		got, err := receive(t.Context(), bytes.NewReader(tarOf(t, members)), to, keeper{newKey(t)}.open)
		if err == nil {
			_, err = got.list(t.Context(), nil)
		}
		if k := fault.KindOf(err); k != fault.Untrusted && k != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
		if tags, err := to.Tags(t.Context()); err != nil || len(tags) > 0 {
			t.Errorf("%s: the layout lists %v, %v", name, tags, err)
		}
	}
	for _, cut := range []int{0, 100, 512, 5000, good.Len() / 2, good.Len() - 2000} {
		if _, err := receive(t.Context(), bytes.NewReader(good.Bytes()[:cut]), layout(t), nil); err == nil {
			t.Errorf("cut at %d: no error", cut)
		}
	}
}

type member struct{ name, text string }

func tarOf(t testing.TB, members []member) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		fatal(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Mode: 0o644, Size: int64(len(m.text))}))
		_, err := io.WriteString(w, m.text)
		fatal(t, err)
	}
	fatal(t, w.Close())
	return b.Bytes()
}

// TestByHand restores with tar and age alone, as docs/state-move.md says.
func TestByHand(t *testing.T) {
	dir := t.TempDir()
	referee.Run(t, "age-keygen", "-o", filepath.Join(dir, "key.txt"))
	public := strings.TrimSpace(referee.Run(t, "age-keygen", "-y", filepath.Join(dir, "key.txt")))
	l, root := captured(t)
	key := newKey(t)
	var err error
	key.Wraps, err = key.Secret.Wrap(t.Context(), seal.Recipients{Age: []string{public}})
	fatal(t, err)
	f, err := os.Create(filepath.Join(dir, "stream.tar"))
	fatal(t, err)
	st, err := newStream(t.Context(), l, root, []string{"one"})
	fatal(t, err)
	fatal(t, st.writeSealed(t.Context(), f, key))
	fatal(t, f.Close())
	referee.Run(t, "sh", "-ec", `cd "$0" && tar -xf stream.tar
		age -d -i key.txt key.age > repo.key
		mkdir layout && age -d -i repo.key layout.tar.age | tar -xC layout`, dir)
	to, err := artifact.OpenLayout(filepath.Join(dir, "layout"))
	fatal(t, err)
	x, err := state.Open(t.Context(), to, "one", nil)
	fatal(t, err)
	_, err = x.Verify(t.Context(), to, nil)
	fatal(t, err)
}

func TestSSHAddresses(t *testing.T) {
	for text, ok := range map[string]bool{
		"ssh://nas/agi": true, "ssh://me@nas.example:2222/~/agi": true, "ssh://[::1]/agi": true,
		"ssh://-oProxyCommand=x/agi": false, "ssh://me@-x/agi": false, "ssh://nas": false, "ssh://nas/": false, "ssh://me:secret@nas/agi": false,
		"ssh://nas/agi?x": false, "ssh://nas/../": false, "ssh://n%20as/agi": false, "http://nas/agi": false, "ssh://me@x;y/agi": false,
	} {
		if _, err := SSH(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestStops(t *testing.T) {
	l, root := captured(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	_, _, err := Split(ctx, l, root, []Place{Folder(dir)}, SplitOptions{Needed: 1, Base: "x"})
	if list, _ := os.ReadDir(dir); err == nil || len(list) > 0 {
		t.Error(err, list)
	}
}
