package extfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// image makes a file system of a small tree with mkfs.ext4.
func image(t testing.TB, size string, args ...string) string {
	t.Helper()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "fs")
	for name, data := range map[string]string{
		"usr/lib/os-release": "NAME=x\n", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "big": strings.Repeat("0123456789abcdef", 1<<16), "empty": "",
	} {
		put(t, filepath.Join(dir, name), data)
	}
	for i := range 600 { // enough for an indexed folder
		put(t, filepath.Join(dir, "many", fmt.Sprintf("a-rather-long-file-name-%d", i)), fmt.Sprint(i))
	}
	for link, target := range map[string]string{
		"etc/os-release": "../usr/lib/os-release", "lib": "usr/lib", "loop": "loop", "abs": "/lib/os-release", "out": "../../../../etc/passwd",
		"long": strings.Repeat("./", 60) + "etc/passwd",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{"-q", "-L", "test", "-U", "12345678-1234-4234-8234-123456789abc", "-d", dir}, append(args, file, size)...)
	referee.Run(t, "mkfs.ext4", args...)
	return file
}

func put(t testing.TB, name, data string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatMkfsWrites(t *testing.T) {
	for _, args := range [][]string{nil, {"-b", "1024"}, {"-O", "^64bit,^metadata_csum"}, {"-O", "inline_data"}, {"-I", "128", "-O", "^extra_isize"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			b, err := os.ReadFile(image(t, "24M", args...))
			if err != nil {
				t.Fatal(err)
			}
			f, err := Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if f.Label != "test" || f.UUID != "12345678-1234-4234-8234-123456789abc" || !f.Clean || f.Blocks*f.BlockSize != 24<<20 {
				t.Errorf("facts %+v", f)
			}
			for name, want := range map[string]string{
				"etc/passwd": "root:x:0:0::/:/bin/sh\n", "/etc/os-release": "NAME=x\n", "lib/os-release": "NAME=x\n", "abs": "NAME=x\n",
				"out": "root:x:0:0::/:/bin/sh\n", "long": "root:x:0:0::/:/bin/sh\n", "big": strings.Repeat("0123456789abcdef", 1<<16),
				"empty": "", "many/a-rather-long-file-name-599": "599",
			} {
				if got, err := f.ReadFile(name, 1<<20); err != nil || string(got) != want {
					t.Errorf("%s: %.40q, %v", name, got, err)
				}
			}
			if list, err := f.ReadDir("many"); err != nil || len(list) != 600 || list[0].Size == 0 {
				t.Errorf("many: %d names, %v", len(list), err)
			}
			if _, err := f.ReadFile("etc/nothing", 1); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("missing: %v", err)
			}
			for _, name := range []string{"loop", "etc", "big/x"} {
				if _, err := f.ReadFile(name, 1<<20); err == nil {
					t.Errorf("%s: no error", name)
				}
			}
			if _, err := f.ReadFile("big", 100); err == nil {
				t.Error("the limit was passed")
			}
		})
	}
}

func TestNoFileSystem(t *testing.T) {
	if _, err := Open(bytes.NewReader(make([]byte, 4096)), 4096); !errors.Is(err, ErrMagic) {
		t.Error(err)
	}
	b, err := os.ReadFile(image(t, "24M"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bytes.NewReader(b), 12<<20); err == nil {
		t.Error("a cut file system was taken")
	}
}

// FuzzOpen changes bytes of a real file system: of the superblock and wherever it says its structures are.
func FuzzOpen(f *testing.F) {
	good, err := os.ReadFile(image(f, "4M", "-b", "1024", "-N", "700"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(1024+96), []byte{1, 2, 3})
	f.Add(uint32(1024+4), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint32(2048+8), []byte{1})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		b := bytes.Clone(good)
		copy(b[int(at)%len(b):], change)
		fsys, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, name := range []string{"etc/os-release", "big", "many/a-rather-long-file-name-7", "loop"} {
			_, _ = fsys.ReadFile(name, 1<<20)
		}
		_, _ = fsys.ReadDir("many")
	})
}
