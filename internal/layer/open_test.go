package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agibake/agibake/internal/tree"
)

func foreign(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Mode |= 0o644
		body := h.Uname // the sample's content
		if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte(body))
		}
	}
	w.Close()
	return b.Bytes()
}

func names(tr *tree.Tree) string {
	var list []string
	for _, e := range tr.Entries() {
		switch e.Type {
		case tree.Hardlink:
			list = append(list, e.Path+"="+e.Link)
		case tree.Symlink:
			list = append(list, e.Path+">"+e.Link)
		case tree.File:
			data, _ := tr.ReadFile(e.Path)
			list = append(list, e.Path+":"+string(data))
		default:
			list = append(list, e.Path)
		}
	}
	return strings.Join(list, " ")
}

func TestForeign(t *testing.T) {
	reg := func(name, body string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Uname: body} }
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }
	sym := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to} }
	for _, c := range []struct {
		name    string
		in      []tar.Header
		want    string
		implied string
	}{
		{"dot and absolute names", []tar.Header{dir("./"), dir("./a"), reg("/a/f", "1"), reg("a//./g", "2")}, ". a a/f:1 a/g:2", ""},
		{"missing parents", []tar.Header{reg("a/b/f", "1")}, ". a a/b a/b/f:1", ". a a/b"},
		{"later wins", []tar.Header{reg("f", "1"), reg("f", "2")}, ". f:2", "."},
		{"folder stays", []tar.Header{dir("a"), reg("a/f", "1"), dir("a")}, ". a a/f:1", "."},
		{"folder replaced", []tar.Header{dir("a"), reg("a/f", "1"), reg("a", "2")}, ". a:2", "."},
		{"through a link", []tar.Header{sym("lib", "usr/lib"), reg("lib/f", "1")}, ". lib>usr/lib usr usr/lib usr/lib/f:1", ". usr usr/lib"},
		{"link cannot leave", []tar.Header{sym("l", "../../../etc"), reg("l/f", "1")}, ". etc etc/f:1 l>../../../etc", ". etc"},
		{"absolute link", []tar.Header{dir("a"), sym("a/l", "/b"), reg("a/l/f", "1")}, ". a a/l>/b b b/f:1", ". b"},
		{"hard link", []tar.Header{reg("b", "1"), hard("a", "b"), hard("c", "/a")}, ". a:1 b=a c=a", "."},
		{"hard link outlives its target", []tar.Header{reg("a", "1"), hard("b", "a"), reg("a", "2")}, ". a:2 b:1", "."},
		{"hard link to itself", []tar.Header{reg("a", "1"), hard("a", "a")}, ". a:1", "."},
		{"hard link to a symlink", []tar.Header{sym("b", "x"), hard("a", "b")}, ". a>x b=a", "."},
		{"hard link to a lower layer", []tar.Header{hard("a", "lower/f")}, ". a=lower/f", "."},
		{"whiteouts are names", []tar.Header{reg(".wh.a", "")}, ". .wh.a:", "."},
	} {
		data := foreign(t, c.in...)
		l, err := Index(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := names(l.Tree); got != c.want {
			t.Errorf("%s: %s", c.name, cmp.Diff(c.want, got))
		}
		for _, e := range l.Tree.Entries() {
			if e.Type == tree.Symlink && e.Mode != 0o777 {
				t.Errorf("%s: symbolic link %s has mode %o", c.name, e.Path, e.Mode)
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(l.Implied)), " "); got != c.implied {
			t.Errorf("%s: implied %q, want %q", c.name, got, c.implied)
		}
	}
	for name, in := range map[string][]tar.Header{
		"leads out":      {reg("../x", "1")},
		"inner dots":     {reg("a/../../x", "1")},
		"link leads out": {hard("x", "../y")},
		"root as file":   {reg(".", "1")},
		"file as folder": {reg("a", "1"), reg("a/b", "1")},
		"link loop":      {sym("a", "b"), sym("b", "a"), reg("a/x", "1")},
		"folder link":    {dir("a"), hard("b", "a")},
		"long component": {reg(strings.Repeat("x", 256), "1")},
		"deep":           {reg(strings.Repeat("x/", 2049)+"f", "1")},
		"empty symlink":  {{Typeflag: tar.TypeSymlink, Name: "a"}},
		"bad owner":      {{Typeflag: tar.TypeReg, Name: "a", Uid: 1 << 40}},
		"xattr size":     {{Typeflag: tar.TypeReg, Name: "a", PAXRecords: map[string]string{xattrPrefix + "user.x": strings.Repeat("x", maxXattrs)}}},
	} {
		data := foreign(t, in...)
		if _, err := Index(bytes.NewReader(data), int64(len(data))); err == nil {
			t.Errorf("%s: taken without an error", name)
		}
	}
}

func TestTruncated(t *testing.T) {
	data, _ := write(t, sample(t))
	refused := 0
	for n := 1; n < len(data)-1024; n += 97 {
		l, err := Index(bytes.NewReader(data[:n]), int64(n))
		if err != nil {
			refused++
			continue
		}
		for name, text := range dump(t, l.Tree) { // what was announced is readable
			if strings.Contains(text, "type 0") && !strings.Contains(text, "size 0") && !strings.Contains(text, "content") {
				t.Errorf("%d of %d bytes: %s lost its content", n, len(data), name)
			}
		}
	}
	if refused < 50 {
		t.Errorf("%d truncations refused", refused)
	}
}

// A tar that makes a million folders through names alone is stopped by the limits.
func TestLimits(t *testing.T) {
	var in []tar.Header
	for i := range 1100 {
		in = append(in, tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i, "/", strings.Repeat("a/", 1000), "f")})
	}
	data := foreign(t, in...)
	if _, err := Index(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	small := tree.New()
	put(f, small, tree.Entry{Path: "ä", Xattrs: map[string]string{"user.x": "1"}})
	data, _ := write(f, small)
	f.Add(data)
	f.Add(foreign(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../x"}, tar.Header{Name: "l/f", Uname: "1"}))
	f.Add(foreign(f, tar.Header{Name: "a", Uname: "1"}, tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}, tar.Header{Name: "a"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Index(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if l != nil {
				t.Fatal("an error and a layer")
			}
			return
		}
		for _, e := range l.Tree.Entries() {
			if e.Type == tree.Hardlink && l.Tree.Lookup(e.Link) == nil {
				return // its target lies in a lower layer
			}
		}
		first, id := write(t, l.Tree)
		again, err := Index(bytes.NewReader(first), int64(len(first)))
		if err != nil {
			t.Fatalf("own output refused: %v", err)
		}
		if _, id2 := write(t, again.Tree); id != id2 {
			t.Fatal("not canonical")
		}
	})
}
