package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/sparse"
	"github.com/agibake/agibake/internal/tree"
)

const (
	gib  = 1 << 30
	seed = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
)

func put(t *testing.T, tr *tree.Tree, name, content string) {
	t.Helper()
	if err := tr.WriteFile(name, []byte(content), 0o644, 1_700_000_000); err != nil {
		t.Fatal(err)
	}
}

func testSpec(t *testing.T) Spec {
	t.Helper()
	s := Spec{Size: 768 * mib, SystemSize: 256 * mib, System: tree.New(), State: tree.New(), ESP: tree.New(), Seed: seed, Epoch: 1_700_000_000}
	put(t, s.System, "boot/grub/grub.cfg", "echo hello\n")
	put(t, s.System, "etc/hostname", "saiga\n")
	put(t, s.State, "models/saiga.gguf", strings.Repeat("weights ", 1<<20))
	put(t, s.ESP, "EFI/BOOT/BOOTX64.EFI", strings.Repeat("shim", 100_000))
	put(t, s.ESP, "EFI/BOOT/grubx64.efi", "grub")
	put(t, s.ESP, "EFI/ubuntu/grub.cfg", "search\n")
	s.BootImage = bytes.Repeat([]byte{0xEB}, 512)
	s.CoreImage = bytes.Repeat([]byte{0xCE}, 40_001)
	return s
}

func writeDisk(t *testing.T, s Spec) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := Write(t.Context(), f, s, nil); err != nil {
		t.Fatal(err)
	}
	return f
}

// extract copies a part of the disk to a file of its own, leaving zeros out.
func extract(t *testing.T, f *os.File, start, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "part.img")
	referee.Run(t, "dd", "if="+f.Name(), "of="+path, "bs=1M", fmt.Sprintf("skip=%d", start/mib), fmt.Sprintf("count=%d", size/mib), "conv=sparse")
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReferees(t *testing.T) {
	s := testSpec(t)
	l, err := Plan(s)
	if err != nil {
		t.Fatal(err)
	}
	f := writeDisk(t, s)
	if out := referee.Run(t, "sgdisk", "-v", f.Name()); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	out := referee.Run(t, "sgdisk", "-p", f.Name())
	for _, want := range []string{"agi-bios", "agi-esp", "agi-system", "agi-state", "EF02", "EF00", "8300"} {
		if !strings.Contains(out, want) {
			t.Errorf("sgdisk -p lacks %s:\n%s", want, out)
		}
	}
	esp := extract(t, f, l.ESP.Start, l.ESP.Size)
	if out := referee.Run(t, "fsck.fat", "-n", "-v", esp); !strings.Contains(out, "32 bits per FAT entry") && !strings.Contains(out, "FAT32") {
		t.Logf("fsck.fat: %s", out)
	}
	if got := referee.Run(t, "mtype", "-i", esp, "::/EFI/ubuntu/grub.cfg"); got != "search\n" {
		t.Errorf("grub.cfg on the ESP holds %q", got)
	}
	out = referee.Run(t, "blkid", "-p", "-o", "export", esp)
	for _, want := range []string{"UUID=" + l.ESPVolumeID, "LABEL=AGI-ESP", "TYPE=vfat"} {
		if !strings.Contains(out, want) {
			t.Errorf("blkid of the ESP lacks %s:\n%s", want, out)
		}
	}
	for _, p := range []struct {
		start, size int64
		label, uuid string
	}{
		{l.System.Start, l.System.Size, "agi-system", l.SystemUUID}, {l.State.Start, l.State.Size, "agi-state", l.StateUUID},
	} {
		img := extract(t, f, p.start, p.size)
		referee.Run(t, "e2fsck", "-fn", img)
		out := referee.Run(t, "blkid", "-p", "-o", "export", img)
		if !strings.Contains(out, "LABEL="+p.label) || !strings.Contains(out, "UUID="+p.uuid) {
			t.Errorf("blkid of %s: %s", p.label, out)
		}
	}
}

// TestBootCode holds the boot sector and core.img against the patches of the facts that grub-bios-setup makes.
func TestBootCode(t *testing.T) {
	s := testSpec(t)
	f := writeDisk(t, s)
	mbr, core := make([]byte, 512), make([]byte, len(s.CoreImage))
	if _, err := f.ReadAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(core, mib); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(mbr[0x5c:0x68]); got != "0008000000000000ffeb9090" {
		t.Errorf("boot.img patch: %s", got)
	}
	if got := hex.EncodeToString(mbr[436:462]); got != "ebebebeb"+"000000000000"+"00000200eeffffff01000000ffff1700"[:32] {
		t.Errorf("boot sector from 436 on: %s", got)
	}
	if got := hex.EncodeToString(core[0x1f4:0x200]); got != "01080000000000004e002008" {
		t.Errorf("core.img block list: %s", got)
	}
	if !bytes.Equal(core[:0x1f4], s.CoreImage[:0x1f4]) || !bytes.Equal(core[512:], s.CoreImage[512:]) {
		t.Error("core.img was changed beyond its block list")
	}
}

func TestSameSpecSameBytes(t *testing.T) {
	var sums [2][]byte
	for i := range sums {
		f := writeDisk(t, testSpec(t))
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, 768*mib)); err != nil {
			t.Fatal(err)
		}
		sums[i] = h.Sum(nil)
	}
	if !bytes.Equal(sums[0], sums[1]) {
		t.Error("two disks of one spec differ")
	}
}

// TestLargeFilesApart holds a disk whose weights stay in their file against one that has them inside.
func TestLargeFilesApart(t *testing.T) {
	weights, err := os.Create(filepath.Join(t.TempDir(), "weights"))
	if err != nil {
		t.Fatal(err)
	}
	defer weights.Close()
	const size = 200*mib + 5
	for off := int64(0); off < size-mib; off += 7 * mib { // with zeros in between
		if _, err := weights.WriteAt(bytes.Repeat([]byte(fmt.Sprintf("%8d", off)), mib/8), off); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := weights.WriteAt([]byte("end"), size-3); err != nil {
		t.Fatal(err)
	}
	s := testSpec(t)
	s.Size += 512 * mib
	large := tree.Entry{Path: "models/large", Mode: 0o644, Size: size, Open: func() (io.ReadCloser, error) { return os.Open(weights.Name()) }}
	piped := large // cannot be read at any place
	piped.Path, piped.Open = "models/piped", func() (io.ReadCloser, error) {
		f, err := os.Open(weights.Name())
		return struct{ io.ReadCloser }{f}, err
	}
	for _, e := range []tree.Entry{large, piped} {
		if err := s.State.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	whole := writeDisk(t, s)
	f, err := os.Create(filepath.Join(t.TempDir(), "apart.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inlays, err := WriteApart(t.Context(), f, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(inlays) != 1 || len(inlays[0].Extents) < 2 {
		t.Fatalf("want one file apart, in several extents: %+v", inlays)
	}
	d := sparse.NewDisk(f, inlays)
	a, b := make([]byte, mib), make([]byte, mib)
	for off := int64(0); off < s.Size; off += mib {
		whole.ReadAt(a, off)
		if _, err := d.ReadAt(b, off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("other bytes in the MiB at %d", off)
		}
	}
	if err := inlays[0].File.Close(); err != nil {
		t.Error(err)
	}
}

func TestDoesNotFit(t *testing.T) {
	large := func(size int64) *tree.Tree {
		tr := tree.New()
		e := tree.Entry{Path: "model", Size: size, Open: func() (io.ReadCloser, error) {
			t.Error("content was read although nothing fits")
			return nil, errors.New("not to be read")
		}}
		if err := tr.Put(e); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		hint   string
	}{
		"model larger than the state partition": {func(s *Spec) { s.State = large(20 * gib) }, "machine.disk"},
		"system larger than its partition":      {func(s *Spec) { s.System = large(2 * gib) }, "machine.systemSize"},
		"no room for a state partition":         {func(s *Spec) { s.SystemSize = s.Size - 300*mib }, "machine.disk"},
		"odd size":                              {func(s *Spec) { s.Size++ }, ""},
		"link on the ESP":                       {func(s *Spec) { s.ESP.Symlink("a", "b", 0) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSpec(t)
			c.change(&s)
			f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			err = Write(t.Context(), f, s, nil)
			if fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Errorf("kind %d, hint %q: %v", fault.KindOf(err), fault.HintOf(err), err)
			}
			if info, _ := f.Stat(); info.Size() != 0 {
				t.Error("something was written")
			}
			t.Log(err)
		})
	}
}
