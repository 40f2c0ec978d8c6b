package state

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
)

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that do not compress, always the same.
func noise(seed uint64, n int) []byte {
	var s [32]byte
	s[0] = byte(seed)
	data := make([]byte, n)
	rand.NewChaCha8(s).Read(data)
	return data
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		fatal(t, os.MkdirAll(filepath.Dir(path), 0o755))
		fatal(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// mind is a small state of each kind of file.
func mind(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "agi-core")
	model, err := os.ReadFile("../../testdata/model/greeter.gguf")
	fatal(t, err)
	var lines bytes.Buffer
	for i := range 40000 {
		fmt.Fprintf(&lines, "{\"n\":%d,\"text\":\"мысль номер %d\"}\n", i, i*i)
	}
	write(t, dir, map[string]string{
		"models/greeter.gguf": string(model), "models/raw.bin": string(noise(1, 3<<20)),
		"models/pair/a.safetensors": "\x02\x00\x00\x00\x00\x00\x00\x00{}", "models/pair/config.json": "{}",
		"boot/settings.json": `{"mode":"RECURSIA"}`, "boot/startup.txt": "Кто ты?\n", "logs/empty.jsonl": "", "docker/compose.yaml": "services: {}\n",
		"memory/notes.jsonl": lines.String(), "memory/torn.jsonl": "{\"a\":1}\n{\"b\":", "memory/странное имя\\\n.txt": "x",
		"memory/big.dat": string(noise(2, 9<<20)),
	})
	fatal(t, os.Symlink("greeter.gguf", filepath.Join(dir, "models/current")))
	fatal(t, os.Mkdir(filepath.Join(dir, "memory/empty"), 0o700))
	fatal(t, os.Chmod(filepath.Join(dir, "boot/startup.txt"), 0o600))
	return dir
}

func layout(t testing.TB) *artifact.Layout {
	l, err := artifact.CreateLayout(filepath.Join(t.TempDir(), "layout"))
	fatal(t, err)
	return l
}

func capturedFrom(t testing.TB, l artifact.Store, dir string, o Options) *Captured {
	t.Helper()
	list, err := Scan(t.Context(), dir, ScanOptions{})
	fatal(t, err)
	if o.Info.Created.IsZero() {
		o.Info.Created = time.Unix(1e9, 0)
	}
	c, err := Capture(t.Context(), l, list, o)
	fatal(t, err)
	return c
}

func snapshot(t testing.TB, l Reader, c *Captured) *Snapshot {
	t.Helper()
	x, err := Open(t.Context(), l, c.Index.Digest.String(), nil)
	fatal(t, err)
	return x
}

// sameTree compares folders: names, modes, links, bytes.
func sameTree(t *testing.T, a, b string) {
	t.Helper()
	list := func(dir string) map[string]string {
		m := map[string]string{}
		fatal(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			fatal(t, err)
			rel, _ := filepath.Rel(dir, p)
			if rel == "." {
				return nil
			}
			info, err := os.Lstat(p)
			fatal(t, err)
			m[rel] = info.Mode().String()
			if info.Mode().IsRegular() {
				data, err := os.ReadFile(p)
				fatal(t, err)
				m[rel] += fmt.Sprint(sumOf(data))
			} else if info.Mode()&fs.ModeSymlink != 0 {
				to, _ := os.Readlink(p)
				m[rel] += to
			}
			return nil
		}))
		return m
	}
	x, y := list(a), list(b)
	for name := range x {
		if x[name] != y[name] {
			t.Errorf("%q: %s and %s", name, x[name], y[name])
		}
	}
	if len(x) != len(y) {
		t.Errorf("%d and %d entries", len(x), len(y))
	}
}

func TestThereAndBack(t *testing.T) {
	dir, l := mind(t), layout(t)
	c := capturedFrom(t, l, dir, Options{Tags: []string{"latest"}})
	x := snapshot(t, l, c)
	if x.Info.Records != 40002 || x.Info.Files != 12 {
		t.Errorf("%+v", x.Info)
	}
	if _, err := x.Verify(t.Context(), l, nil); err != nil {
		t.Error(err)
	}
	to := filepath.Join(t.TempDir(), "core")
	r, err := x.Restore(t.Context(), l, x.Staging(to), RestoreOptions{})
	fatal(t, err)
	if r.Bytes != x.Info.Bytes || r.Kept != 0 {
		t.Errorf("%+v", r)
	}
	former, err := Switch(x.Staging(to), to, time.Now())
	if fatal(t, err); former != "" {
		t.Error(former)
	}
	sameTree(t, dir, to)
	// Equal trees give equal digests, wherever they stand.
	other := layout(t)
	again := capturedFrom(t, other, to, Options{})
	if again.Index.Digest != c.Index.Digest {
		t.Errorf("captured again: %s, not %s", again.Index.Digest, c.Index.Digest)
	}
}

func TestSecondCapture(t *testing.T) {
	dir, l := mind(t), layout(t)
	memo, err := OpenMemo(t.TempDir(), dir)
	fatal(t, err)
	time.Sleep(settled + 100*time.Millisecond)
	first := snapshot(t, l, capturedFrom(t, l, dir, Options{Memo: memo}))
	again := capturedFrom(t, l, dir, Options{Memo: memo, Parent: first})
	if again.Read != 0 || again.Added != 0 || again.Info.Tree != first.Info.Tree {
		t.Errorf("%+v", again)
	}
	f, err := os.OpenFile(filepath.Join(dir, "memory/notes.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	fatal(t, err)
	fmt.Fprintln(f, `{"n":"another"}`)
	fatal(t, f.Close())
	changed := capturedFrom(t, l, dir, Options{Memo: memo, Parent: first})
	if changed.Added == 0 || changed.Added > 1<<20 || changed.Info.Records != first.Info.Records+1 {
		t.Errorf("%+v", changed)
	}
	x := snapshot(t, l, changed)
	to := filepath.Join(t.TempDir(), "core")
	_, err = x.Restore(t.Context(), l, to, RestoreOptions{})
	fatal(t, err)
	sameTree(t, dir, to)
	if len(x.Parts) != 4 { // its own, and three models
		t.Errorf("%d manifests", len(x.Parts))
	}
	for i := range x.Parts[1:] {
		if x.Parts[i+1].Digest != first.Parts[i+1].Digest {
			t.Error("the digest of a model changed")
		}
	}
}

func TestResume(t *testing.T) {
	dir, l := mind(t), layout(t)
	x := snapshot(t, l, capturedFrom(t, l, dir, Options{}))
	to := filepath.Join(t.TempDir(), "core")
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	_, err := x.Restore(ctx, l, to, RestoreOptions{Progress: func(progress.Event) {
		if n.Add(1) == 4 {
			cancel()
		}
	}})
	if err == nil {
		t.Fatal("it was not cancelled")
	}
	write(t, to, map[string]string{"memory/stranger": "x"})
	r, err := x.Restore(t.Context(), l, to, RestoreOptions{})
	fatal(t, err)
	if r.Kept == 0 {
		t.Error("nothing was kept")
	}
	sameTree(t, dir, to)
}
