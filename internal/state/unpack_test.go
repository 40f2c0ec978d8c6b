package state_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/state"
)

// packed makes an archive; a member's content is its Linkname where it is a file.
func packed(t testing.TB, members ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text, h.Linkname, h.Size = h.Linkname, "", int64(len(h.Linkname))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func reg(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: text}
}
func dir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
}
func other(kind byte, name, target string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: target}
}

// unpacked unpacks an archive; what is around it must not change.
func unpacked(t *testing.T, data []byte) (*state.Unpacked, string, error) {
	t.Helper()
	around := t.TempDir()
	file, outside := filepath.Join(around, "archive"), filepath.Join(around, "outside")
	for name, text := range map[string][]byte{file: data, outside: []byte("precious")} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done, err := state.Stage(filepath.Join(around, "staging"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := state.Unpack(t.Context(), file, filepath.Join(around, "staging", "tree"), nil)
	seen := ""
	if err == nil {
		seen = shown(t, u.Root)
	}
	done()
	if text, _ := os.ReadFile(outside); string(text) != "precious" {
		t.Error("what is outside was changed")
	}
	if list, _ := os.ReadDir(around); len(list) != 2 {
		t.Errorf("left behind: %v", list)
	}
	return u, seen, err
}

// shown lists a tree, a line a name.
func shown(t *testing.T, root string) string {
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if p == root || err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		text := ""
		switch {
		case d.Type().IsRegular():
			data, _ := os.ReadFile(p)
			text = " = " + string(data)
		case d.Type() == os.ModeSymlink:
			text, _ = os.Readlink(p)
			text = " -> " + text
		}
		fmt.Fprintf(&b, "%s%s\n", rel, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestUnpackFindsTheState(t *testing.T) {
	sum := fmt.Sprintf("%x", md5.Sum([]byte("w")))
	for name, c := range map[string]struct {
		members []tar.Header
		top     string
		want    string
		lists   int
		outside int
	}{
		"no folder around":   {[]tar.Header{dir("."), dir("./models"), reg("./models/m", "w")}, ".", "models\nmodels/m = w\n", 0, 0},
		"a folder around":    {[]tar.Header{reg("agi-core/models/m", "w"), reg("agi-core/note", "n")}, "agi-core", "models\nmodels/m = w\nnote = n\n", 0, 0},
		"several":            {[]tar.Header{reg("home/me/core/memory/m", "w"), reg("home/me/x", "x")}, "home/me/core", "memory\nmemory/m = w\n", 0, 1},
		"parts within parts": {[]tar.Header{reg("memory/a/models/m", "w"), dir("memory/a/logs"), dir("memory/a/boot")}, ".", "memory\nmemory/a\nmemory/a/boot\nmemory/a/logs\nmemory/a/models\nmemory/a/models/m = w\n", 0, 0},
		"lists":              {[]tar.Header{reg("c/models/m", "w"), reg("c/md5sums.txt", sum+"  models/m\n"), reg("MD5SUMS", "# all\n"+sum+" *./c/models/m\n"+strings.Repeat("0", 32)+"  MD5SUMS\n")}, "c", "models\nmodels/m = w\n", 2, 0},
		"a folder late":      {[]tar.Header{reg("models/m", "w"), dir("models")}, ".", "models\nmodels/m = w\n", 0, 0},
		"links":              {[]tar.Header{reg("models/m", "w"), other(tar.TypeSymlink, "models/cur", "m"), other(tar.TypeLink, "models/n", "models/m")}, ".", "models\nmodels/cur -> m\nmodels/m = w\nmodels/n = w\n", 0, 0},
		"a machine's own":    {[]tar.Header{reg("boot/identity.json", "id"), reg("boot/s", "w"), reg("lost+found/x", "x")}, ".", "boot\nboot/s = w\n", 0, 0},
	} {
		u, seen, err := unpacked(t, packed(t, c.members...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if u.Top != c.top || seen != c.want || len(u.Lists) != c.lists || len(u.Outside) != c.outside {
			t.Errorf("%s: top %q, %d lists, outside %v\n%s", name, u.Top, len(u.Lists), u.Outside, seen)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	ok := reg("models/m", "w")
	huge := tar.Header{Typeflag: tar.TypeReg, Name: "models/huge", Mode: 0o644, Size: 1 << 60}
	var bomb bytes.Buffer
	if err := tar.NewWriter(&bomb).WriteHeader(&huge); err != nil {
		t.Fatal(err)
	}
	var tail bytes.Buffer
	z := gzip.NewWriter(&tail)
	z.Write(packed(t, ok))
	for range 80 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	for name, c := range map[string]struct {
		data []byte
		kind fault.Kind
		text string
	}{
		"..":                  {packed(t, ok, reg("models/../../outside", "x")), fault.Untrusted, "leads out"},
		".. in front":         {packed(t, ok, reg("../outside", "x")), fault.Untrusted, "leads out"},
		"absolute":            {packed(t, ok, reg("/etc/passwd", "x")), fault.Untrusted, "absolute"},
		"twice":               {packed(t, ok, reg("./models/m", "x")), fault.Untrusted, "twice"},
		"folder over a file":  {packed(t, ok, dir("models/m")), fault.Untrusted, "twice"},
		"file in a file":      {packed(t, ok, reg("models/m/x", "x")), fault.Untrusted, "no folder"},
		"through a link":      {packed(t, ok, other(tar.TypeSymlink, "models/l", "../.."), reg("models/l/outside", "x")), fault.Untrusted, "no folder"},
		"link out":            {packed(t, ok, other(tar.TypeSymlink, "models/l", "../../outside")), fault.Untrusted, "outside the state"},
		"absolute link":       {packed(t, ok, other(tar.TypeSymlink, "models/l", "/etc/passwd")), fault.Untrusted, "outside the state"},
		"hard link out":       {packed(t, ok, other(tar.TypeLink, "models/l", "../outside")), fault.Untrusted, "hard link"},
		"hard link absolute":  {packed(t, ok, other(tar.TypeLink, "models/l", "/etc/passwd")), fault.Untrusted, "hard link"},
		"hard link to a link": {packed(t, ok, other(tar.TypeSymlink, "models/l", "m"), other(tar.TypeLink, "models/h", "models/l")), fault.Untrusted, "hard link"},
		"hard link forward":   {packed(t, other(tar.TypeLink, "models/h", "models/m"), ok), fault.Untrusted, "hard link"},
		"device":              {packed(t, ok, other(tar.TypeBlock, "models/sda", "")), fault.Untrusted, "no file, folder or link"},
		"pipe":                {packed(t, ok, other(tar.TypeFifo, "models/p", "")), fault.Untrusted, "no file, folder or link"},
		"file for the root":   {packed(t, ok, reg(".", "x")), fault.Untrusted, "the whole state"},
		"owner":               {packed(t, ok, tar.Header{Typeflag: tar.TypeDir, Name: "models/x/", Uid: 1 << 40}), fault.Untrusted, "nobody has"},
		"bomb":                {bomb.Bytes(), fault.Untrusted, "are free"},
		"long tail":           {tail.Bytes(), fault.Untrusted, "follow the end"},
		"wrong sum":           {packed(t, ok, reg("SHA256SUMS", strings.Repeat("0", 64)+"  models/m\n")), fault.Untrusted, `"models/m" is not what it was`},
		"sum of nothing":      {packed(t, ok, reg("MD5SUMS", strings.Repeat("0", 32)+"  models/gone\n")), fault.Untrusted, `"models/gone" is missing`},
		"no list":             {packed(t, ok, reg("MD5SUMS", "hello\n")), fault.Untrusted, "no sum"},
		"no state":            {packed(t, reg("some/file", "x")), fault.Input, "there is no state in it"},
		"two states":          {packed(t, reg("a/models/m", "x"), reg("b/models/m", "x")), fault.Input, "more than one"},
		"no tar":              {[]byte(strings.Repeat("hello ", 1000)), fault.Input, "no tar archive"},
		"empty":               {nil, fault.Input, "there is no state in it"},
		"cut off":             {packed(t, reg("models/m", strings.Repeat("x", 5000)))[:3000], fault.Input, "cut off"},
		"cut gzip":            {tail.Bytes()[:tail.Len()/2], fault.Input, "cut off"},
		"no xz":               {[]byte("\xfd7zXZ\x00 and nothing else"), fault.Input, "no tar archive|damaged"},
	} {
		_, _, err := unpacked(t, c.data)
		fits := false
		for _, text := range strings.Split(c.text, "|") {
			fits = fits || err != nil && strings.Contains(err.Error(), text)
		}
		if fault.KindOf(err) != c.kind || !fits {
			t.Errorf("%s: %v, kind %d", name, err, fault.KindOf(err))
		}
	}
}

func TestUnpackStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, packed(t, reg("models/m", "w")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Unpack(ctx, file, filepath.Join(t.TempDir(), "tree"), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(packed(f, reg("./core/models/m", "w"), dir("core/logs"), other(tar.TypeLink, "core/logs/x", "core/models/m")))
	f.Add(packed(f, reg("models/m", "w"), other(tar.TypeSymlink, "models/l", "m"), reg("MD5SUMS", "f1290186a5d0b1ceab27f4e77c0c5d68  models/m\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if u, _, err := unpacked(t, data); (u == nil) == (err == nil) {
			t.Error(u, err)
		}
	})
}
