package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

const mtime = 1700000000

func put(t testing.TB, tr *tree.Tree, entries ...tree.Entry) {
	t.Helper()
	for _, e := range entries {
		if e.ModTime == 0 {
			e.ModTime = mtime
		}
		if err := tr.Put(e); err != nil {
			t.Fatal(err)
		}
	}
}

// sample is a tree with every kind of entry and every value that a plain ustar header cannot hold.
func sample(t testing.TB) *tree.Tree {
	tr := tree.New()
	long := strings.Repeat("d", 120) + "/" + strings.Repeat("f", 120)
	put(t, tr,
		tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755},
		tree.Entry{Path: "b", Type: tree.Dir, Mode: 0o1777},
		tree.Entry{Path: "b/zz", Size: 5, Mode: 0o4755, UID: 1000, GID: 3000000, Open: tree.Bytes([]byte("hello"))},
		tree.Entry{Path: "a-hard", Type: tree.Hardlink, Link: "b/zz"},
		tree.Entry{Path: "b/c-hard", Type: tree.Hardlink, Link: "a-hard"},
		tree.Entry{Path: "empty", Mode: 0o600, UID: 4000000000},
		tree.Entry{Path: "link", Type: tree.Symlink, Mode: 0o777, Link: "../" + strings.Repeat("x/", 100)},
		tree.Entry{Path: "wörter", Mode: 0o644, Size: 600, Open: tree.Bytes(bytes.Repeat([]byte("ä"), 300)),
			Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14), "user.x": "1\n2=3"}},
		tree.Entry{Path: "null", Type: tree.Char, Mode: 0o666, Major: 1, Minor: 3},
		tree.Entry{Path: "disk", Type: tree.Block, Mode: 0o660, GID: 6, Major: 254, Minor: 1},
		tree.Entry{Path: "pipe", Type: tree.Fifo, Mode: 0o600},
		tree.Entry{Path: "old", Mode: 0o644, ModTime: -5},
	)
	if err := tr.WriteFile(long, []byte("long"), 0o644, mtime); err != nil {
		t.Fatal(err)
	}
	return tr
}

func dump(t testing.TB, tr *tree.Tree) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, e := range tr.Entries() {
		text := fmt.Sprintf("type %d mode %o owner %d:%d time %d size %d link %q dev %d:%d xattrs %q",
			e.Type, e.Mode, e.UID, e.GID, e.ModTime, e.Size, e.Link, e.Major, e.Minor, fmt.Sprint(e.Xattrs))
		if e.Open != nil {
			r, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf(" content %.8x", sha256.Sum256(data))
		}
		m[e.Path] = text
	}
	return m
}

func write(t testing.TB, tr *tree.Tree) ([]byte, string) {
	t.Helper()
	var b bytes.Buffer
	id, err := Write(context.Background(), &b, tr)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(b.Bytes())); id != want {
		t.Fatalf("diff ID %s, bytes have %s", id, want)
	}
	return b.Bytes(), id
}

func TestRoundTrip(t *testing.T) {
	data, id := write(t, sample(t))
	l, err := Index(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	again, id2 := write(t, l.Tree)
	if id != id2 || !bytes.Equal(data, again) {
		t.Errorf("writing what was read gives other bytes")
	}
	got := dump(t, l.Tree)
	if want := dump(t, sample(t)); got["wörter"] != want["wörter"] || got["old"] != want["old"] {
		t.Errorf("got %s", cmp.Diff(want, got))
	}
	if e := l.Tree.Lookup("b/zz"); e.Type != tree.Hardlink || e.Link != "a-hard" {
		t.Errorf("b/zz is %+v, want a link to the first name", e)
	}
	if e := l.Tree.Lookup("a-hard"); e.Type != tree.File || e.Size != 5 || e.Mode != 0o4755 || e.GID != 3000000 {
		t.Errorf("a-hard is %+v, want the file", e)
	}
	if len(l.Implied) != 0 {
		t.Errorf("implied folders %v", l.Implied)
	}
}

// TestPAXOnlyWhereNeeded fixes the bytes' shape: plain ustar for what fits, no times but mtime, no names of owners.
func TestPAXOnlyWhereNeeded(t *testing.T) {
	data, _ := write(t, sample(t))
	pax := map[string]bool{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
			t.Errorf("%s: %+v", h.Name, h)
		}
		if h.Format == tar.FormatPAX {
			pax[h.Name] = true
		} else if h.Format != tar.FormatUSTAR {
			t.Errorf("%s: format %v", h.Name, h.Format)
		}
	}
	d, f := strings.Repeat("d", 120)+"/", strings.Repeat("f", 120)
	want := map[string]bool{"a-hard": true, "b/c-hard": true, "b/zz": true, "empty": true, "link": true, "wörter": true, "old": true, d: true, d + f: true}
	if diff := cmp.Diff(want, pax); diff != "" {
		t.Error(diff)
	}
}

func TestWriteErrors(t *testing.T) {
	for name, e := range map[string]tree.Entry{
		"dangling": {Path: "x", Type: tree.Hardlink, Link: "gone"},
		"circle":   {Path: "x", Type: tree.Hardlink, Link: "x"},
		"short":    {Path: "x", Size: 5, Open: tree.Bytes([]byte("abc"))},
		"long":     {Path: "x", Size: 2, Open: tree.Bytes([]byte("abc"))},
		"nothing":  {Path: "x", Size: 2},
	} {
		tr := tree.New()
		put(t, tr, e)
		if _, err := Write(context.Background(), io.Discard, tr); err == nil || !strings.Contains(err.Error(), "x:") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Write(ctx, io.Discard, tree.New()); err == nil {
		t.Error("cancelled: no error")
	}
}

// TestGNUTar lets GNU tar judge and extract what Write wrote, and Open read what GNU tar makes of it.
func TestGNUTar(t *testing.T) {
	referee.Need(t, "tar")
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: extracting owners and devices needs root")
	}
	data, id := write(t, sample(t))
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("tar", args...)
		cmd.Stdin = bytes.NewReader(data)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("tar %v: %v: %s", args, err, out)
		}
	}
	flags := []string{"--numeric-owner", "--xattrs", "--xattrs-include=*", "--warning=no-timestamp", "-C", dir}
	run(append(flags, "-xpf", "-")...)
	run(append(flags, "--format=gnu", "--no-xattrs", "-cf", dir+".gnu", ".")...)
	run(append(flags, "--format=pax", "--sort=inode", "-cf", dir+".pax", ".")...)
	l, err := Open(dir + ".pax")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, e := range l.Tree.Entries() {
		delete(e.Xattrs, "security.selinux")
	}
	if again, id2 := write(t, l.Tree); id2 != id {
		want, _ := Index(bytes.NewReader(data), int64(len(data)))
		t.Errorf("%d bytes became %d: %s", len(data), len(again), cmp.Diff(dump(t, want.Tree), dump(t, l.Tree)))
	}
	g, err := Open(dir + ".gnu")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Tree.Len() != l.Tree.Len() {
		t.Errorf("gnu format has %d entries, pax %d", g.Tree.Len(), l.Tree.Len())
	}
}

func TestDecompress(t *testing.T) {
	data, _ := write(t, sample(t))
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(data)
	g.Close()
	z, _ := zstd.NewWriter(&zs)
	z.Write(data)
	z.Close()
	const oci = "application/vnd.oci.image.layer.v1.tar"
	for _, c := range []struct {
		mediaType string
		in        []byte
	}{
		{oci, data}, {oci + "+gzip", gz.Bytes()}, {oci + "+zstd", zs.Bytes()}, {oci, gz.Bytes()},
		{"application/vnd.docker.image.rootfs.diff.tar.gzip", gz.Bytes()},
	} {
		r, err := Decompress(context.Background(), c.mediaType, bytes.NewReader(c.in))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", c.mediaType, len(got), err)
		}
		r.Close()
		r, err = Decompress(context.Background(), c.mediaType, bytes.NewReader(c.in[:len(c.in)/2]))
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(r); err == nil && len(got) > len(data)/2 {
			t.Errorf("%s: truncated blob read without an error", c.mediaType)
		}
		r.Close()
	}
	if _, err := Decompress(context.Background(), "text/plain", bytes.NewReader(data)); err == nil {
		t.Error("text/plain was taken for a layer")
	}
}

func BenchmarkWrite(b *testing.B) {
	const size, files = 4 << 20, 64
	name := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	tr := tree.New()
	for i := range files {
		put(b, tr, tree.Entry{Path: fmt.Sprint(i), Size: size, Open: func() (io.ReadCloser, error) { return os.Open(name) }})
	}
	b.SetBytes(size * files)
	for b.Loop() {
		if _, err := Write(context.Background(), io.Discard, tr); err != nil {
			b.Fatal(err)
		}
	}
}
