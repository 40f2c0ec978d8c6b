package rootfs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
)

// item is one entry of a test package: a folder where name ends in a slash, a link where link is set.
type item struct {
	name, data, link string
	mode             int64
	kind             byte
}

func pack(t testing.TB, items []item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Size: int64(len(i.data)), Mode: i.mode, Linkname: i.link, ModTime: time.Unix(1000, 0), Typeflag: i.kind}
		switch {
		case i.kind != 0:
		case strings.HasSuffix(i.name, "/"):
			h.Typeflag = tar.TypeDir
		case i.link != "":
			h.Typeflag = tar.TypeSymlink
		default:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(i.data))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func compress(t testing.TB, ext string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	switch ext {
	case "":
		return data
	case ".gz":
		w := gzip.NewWriter(&buf)
		w.Write(data)
		w.Close()
	case ".zst":
		w, _ := zstd.NewWriter(&buf)
		w.Write(data)
		w.Close()
	case ".xz":
		c := exec.Command("xz", "-c")
		c.Stdin, c.Stdout = bytes.NewReader(data), &buf
		if err := c.Run(); err != nil {
			t.Skipf("SKIPPED: xz: %v", err)
		}
	}
	return buf.Bytes()
}

// makeDeb writes a package; control has further fields of its paragraph, scripts more files of the control archive.
func makeDeb(t testing.TB, name, ext, control string, scripts, data []item) Deb {
	t.Helper()
	control = fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@b.c>\n%sDescription: test\n long\n", name, control)
	var buf bytes.Buffer
	buf.WriteString(arMagic)
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar" + ext, compress(t, ext, pack(t, append([]item{{name: "./"}, {name: "./control", data: control, mode: 0o644}}, scripts...)))},
		{"data.tar" + ext, compress(t, ext, pack(t, data))},
	} {
		fmt.Fprintf(&buf, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", m.name, 0, 0, 0, 0o100644, len(m.data), m.data)
		if len(m.data)%2 == 1 {
			buf.WriteByte('\n')
		}
	}
	sum := sha256.Sum256(buf.Bytes())
	path := filepath.Join(t.TempDir(), name+".deb")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return Deb{Path: path, Package: lock.Package{Name: name, Version: "1.0", Architecture: "all", Size: int64(buf.Len()), SHA256: hex.EncodeToString(sum[:])}}
}

func TestEveryCompression(t *testing.T) {
	for _, ext := range []string{"", ".gz", ".zst", ".xz"} {
		t.Run("tar"+ext, func(t *testing.T) {
			d := makeDeb(t, "a", ext, "", nil, []item{{name: "./"}, {name: "./etc/"}, {name: "./etc/a", data: strings.Repeat("text\n", 5000), mode: 0o4711}})
			r, _, err := unpackTest(t, d)
			if err != nil {
				t.Fatal(err)
			}
			if read(t, r, "etc/a") != strings.Repeat("text\n", 5000) {
				t.Error("content differs")
			}
			s, err := os.Stat(filepath.Join(r.dir, "etc/a"))
			if err != nil || s.Mode() != 0o711|os.ModeSetuid || s.ModTime().Unix() != 1000 {
				t.Errorf("%v %v", s.Mode(), s.ModTime())
			}
		})
	}
}

func TestWrongDebIsUntrusted(t *testing.T) {
	good := makeDeb(t, "a", ".gz", "", nil, nil)
	for name, change := range map[string]func(*Deb){
		"digest": func(d *Deb) { d.SHA256 = strings.Repeat("0", 64) },
		"short":  func(d *Deb) { d.Size++ },
		"long":   func(d *Deb) { d.Size-- },
	} {
		d := good
		change(&d)
		if _, err := openDeb(t.Context(), d); fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), d.Path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := good
	d.Version = "2.0"
	if _, err := openDeb(t.Context(), d); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), `Version is "1.0"`) {
		t.Errorf("another version: %v", err)
	}
	d = good
	d.Path += ".gone"
	if _, err := openDeb(t.Context(), d); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestXZDamageIsAnError(t *testing.T) {
	d := makeDeb(t, "a", ".xz", "", nil, []item{{name: "./"}, {name: "./a", data: strings.Repeat("x", 1<<20)}})
	data, _ := os.ReadFile(d.Path)
	data[len(data)-40] ^= 1
	os.WriteFile(d.Path, data, 0o644)
	sum := sha256.Sum256(data)
	d.SHA256 = hex.EncodeToString(sum[:])
	if _, _, err := unpackTest(t, d); err == nil {
		t.Error("a damaged archive unpacked without an error")
	}
}

func FuzzControl(f *testing.F) {
	f.Add("Package: a\nDepends: b (>= 1), c | d\n e\n")
	f.Add(" x\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseControl([]byte(text))
		if err != nil {
			return
		}
		again, err := parseControl([]byte(c.text))
		if err != nil || again.text != c.text || len(again.fields) != len(c.fields) {
			t.Errorf("%q does not parse the same again: %v", c.text, err)
		}
		c.relations("Depends")
	})
}

func FuzzAr(f *testing.F) {
	f.Add([]byte(arMagic + "debian-binary   0           0     0     100644  4         `\n2.0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := arMembers(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		total := int64(0)
		for _, m := range list {
			total += m.Size()
		}
		if total > int64(len(data)) {
			t.Errorf("members of %d bytes in an archive of %d", total, len(data))
		}
	})
}
