package fat

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

const (
	mib  = 1 << 20
	when = 1_700_000_000 // 2023-11-14 22:13:20
)

func sample(t *testing.T) *tree.Tree {
	tr := tree.New()
	files := map[string]int{"EFI/BOOT/BOOTX64.EFI": 950_000, "EFI/BOOT/grubx64.efi": 2_600_000, "EFI/BOOT/mmx64.efi": 1, "EFI/ubuntu/grub.cfg": 2048,
		"EFI/ubuntu/empty": 0, "a name with blanks and more than thirteen letters.config.text": 2047, "Кто ты?!.txt": 5000,
		".hidden": 3, "thirteen-char": 7, "UPPER.TXT": 9, "lower.txt": 10, "grubx64.longer": 11, "grubx64x64.efi": 12, "grubx64x65.efi": 13, "x.y.z": 14}
	for i := range 300 {
		files[fmt.Sprintf("many/some long file name %d", i)] = i
	}
	for name, size := range files {
		name = strings.ReplaceAll(name, "?", "")
		if err := tr.WriteFile(name, bytes.Repeat([]byte(name), size/len(name)+1)[:size], 0o644, when); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func image(t *testing.T, tr *tree.Tree, o Options) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "esp.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(o.Size), Write(t.Context(), f, tr, o)); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestReferees(t *testing.T) {
	for _, size := range []int64{34 * mib, 256 * mib, 1000 * mib} {
		tr := sample(t)
		img := image(t, tr, Options{Size: size, Label: "AGI-ESP", VolumeID: 0xCAFE0123})
		referee.Run(t, "fsck.fat", "-n", img)
		out := referee.Run(t, "mdir", "-i", img, "::/")
		for _, want := range []string{"AGI-ESP", "CAFE-0123", "2023-11-14  22:13", "GRUBX6~1 EFI", "grubx64x65.efi", "thirteen-char"} {
			if !strings.Contains(out, want) {
				t.Errorf("mdir lacks %s:\n%s", want, out)
			}
		}
		to := t.TempDir()
		referee.Run(t, "mcopy", "-s", "-n", "-i", img, "::/*", to)
		for _, e := range tr.Entries() {
			if e.Type != tree.File {
				continue
			}
			want, _ := tr.ReadFile(e.Path)
			if got, err := os.ReadFile(filepath.Join(to, e.Path)); !bytes.Equal(got, want) {
				t.Errorf("%s differs (%v)", e.Path, err)
			}
		}
	}
}

func TestSameBytes(t *testing.T) {
	var sums [2][32]byte
	for i := range sums {
		data, err := os.ReadFile(image(t, sample(t), Options{Size: 64 * mib}))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(data)
	}
	if sums[0] != sums[1] {
		t.Error("two file systems of one tree differ")
	}
}

func TestRefused(t *testing.T) {
	for want, entries := range map[string][]tree.Entry{
		"only files and folders": {{Path: "a", Type: tree.Symlink, Link: "b"}},
		"differ only in case":    {{Path: "Boot"}, {Path: "BOOT"}},
		"cannot hold":            {{Path: "a:b"}},
		"control character":      {{Path: "a\x01"}},
		"need more than":         {{Path: "a", Size: 65 * mib, Open: tree.Bytes(nil)}},
		"are available":          {{Path: "a", Size: 64 * mib, Open: tree.Bytes(nil)}},
		"out of range":           {{Path: "a", Size: 1 << 32, Open: tree.Bytes(nil)}},
	} {
		tr := tree.New()
		for _, e := range entries {
			if err := tr.Put(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := Write(t.Context(), nil, tr, Options{Size: 64 * mib}); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: kind %d: %v", want, fault.KindOf(err), err)
		}
	}
}

func TestStatedSize(t *testing.T) {
	for _, length := range []int{99, 101} {
		tr := tree.New()
		if err := tr.Put(tree.Entry{Path: "f", Size: 100, Open: tree.Bytes(make([]byte, length))}); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "esp.img"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := Write(t.Context(), f, tr, Options{Size: 64 * mib}); err == nil || !strings.Contains(err.Error(), "stated size") {
			t.Errorf("%d bytes of 100: %v", length, err)
		}
	}
	if _, err := Plan(tree.New(), Options{Size: 1 * mib}); err == nil {
		t.Error("a tiny file system was accepted")
	}
}
