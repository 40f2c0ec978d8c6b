package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// content makes the bytes of a small disk: text, noise, and zeros, with 40 MiB of them in the middle.
func content(size int) []byte {
	rng := rand.New(rand.NewPCG(7, 8))
	b := make([]byte, size)
	for off := 0; off < size; off += 40_000 {
		part := b[off:min(off+40_000, size)]
		if off > 10<<20 && off < 50<<20 {
			continue
		}
		switch rng.IntN(3) {
		case 0:
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
		case 1:
			for i := range part {
				part[i] = byte('a' + rng.IntN(3))
			}
		}
	}
	return b
}

// ours writes an image of disk with a Writer.
func ours(t testing.TB, disk []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, int64(len(disk)), 0x1234abcd)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCompressor(0)
	if err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, GrainSize)
	for off := 0; off < len(disk); off += GrainSize {
		grain := make([]byte, GrainSize)
		copy(grain, disk[off:])
		if bytes.Equal(grain, zero) {
			continue
		}
		packed, err := c.Compress(nil, grain)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(int64(off/GrainSize), packed); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openBytes(b []byte) (*Image, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func readAll(t *testing.T, m *Image) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOurs(t *testing.T) {
	disk := content(100<<20 + 512)
	b := ours(t, disk)
	m, err := openBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, m), disk) {
		t.Error("the disk differs")
	}
	if m.Version != 3 || m.Flags != 0x30001 || m.Trailing != 0 || m.GrainSize != 64<<10 {
		t.Errorf("facts %+v", m)
	}
	for key, want := range map[string]string{"createType": "streamOptimized", "ddb.adapterType": "lsilogic", "CID": "1234abcd", "parentCID": "ffffffff"} {
		if m.Descriptor[key] != want {
			t.Errorf("%s is %q, want %q", key, m.Descriptor[key], want)
		}
	}
	if tail := b[len(b)-512:]; !bytes.Equal(tail, make([]byte, 512)) {
		t.Error("the file does not end with the end-of-stream marker")
	}
	if strings.Contains(string(b[512:21*512]), "ddb.tools") {
		t.Error("ddb.tools in the descriptor")
	}
	dir := t.TempDir()
	raw, image := filepath.Join(dir, "raw"), filepath.Join(dir, "x.vmdk")
	if err := errors.Join(os.WriteFile(raw, disk, 0o644), os.WriteFile(image, b, 0o644)); err != nil {
		t.Fatal(err)
	}
	referee.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw, image)
	if out := referee.Run(t, "qemu-img", "info", image); !strings.Contains(out, "streamOptimized") {
		t.Errorf("qemu-img info: %s", out)
	}
}

// TestMarkersChain walks the stream as a reader does that cannot seek: every structure must name the next.
func TestMarkersChain(t *testing.T) {
	disk := content(70 << 20)
	b := ours(t, disk)
	at, last := grainSectors*sector, int64(-1)
	var kinds []int
	for at < len(b) {
		value, size := binary.LittleEndian.Uint64(b[at:]), binary.LittleEndian.Uint32(b[at+8:])
		if size > 0 {
			if n := int64(value) / grainSectors; n <= last {
				t.Fatalf("grain %d after %d", n, last)
			} else {
				last = n
			}
			at += (12 + int(size) + sector - 1) / sector * sector
			continue
		}
		kinds = append(kinds, int(binary.LittleEndian.Uint32(b[at+12:])))
		at += sector * (1 + int(value))
	}
	want := []int{markerTable, markerTable, markerTable, markerDirectory, markerFooter, markerEnd}
	if at != len(b) || len(kinds) != len(want) {
		t.Fatalf("markers %v, want %v", kinds, want)
	}
	for i := range want {
		if kinds[i] != want[i] {
			t.Errorf("markers %v, want %v", kinds, want)
		}
	}
}

func TestReadsWhatQEMUWrites(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	disk := content(70<<20 + 512)
	if err := os.WriteFile(raw, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"monolithicSparse", "streamOptimized"} {
		path := filepath.Join(dir, form)
		referee.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+form, raw, path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := openBytes(b)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if m.Descriptor["createType"] != form || !bytes.Equal(readAll(t, m), disk) {
			t.Errorf("%s: the disk differs", form)
		}
	}
	flat := filepath.Join(dir, "flat.vmdk")
	referee.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", raw, flat)
	b, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openBytes(b); err == nil || !strings.Contains(err.Error(), "other files") {
		t.Errorf("monolithicFlat: %v", err)
	}
}

func TestWriterRefuses(t *testing.T) {
	for _, size := range []int64{-512, 0, 511, 63 << 40} {
		if _, err := NewWriter(io.Discard, size, 1); err == nil {
			t.Errorf("size %d was taken", size)
		}
	}
	w, err := NewWriter(io.Discard, 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(3, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{-1, 2, 3, 16} {
		if w.Write(n, []byte("x")) == nil {
			t.Errorf("grain %d after 3 was taken", n)
		}
	}
}

func TestBrokenImages(t *testing.T) {
	good := ours(t, content(1<<20))
	for name, change := range map[string]func(b []byte) []byte{
		"empty":      func(b []byte) []byte { return nil },
		"magic":      func(b []byte) []byte { b[0] = 0; return b },
		"version":    func(b []byte) []byte { b[4] = 9; return b },
		"grain size": func(b []byte) []byte { b[20] = 3; return b },
		"big grain":  func(b []byte) []byte { b[22] = 1; b[20] = 0; return b },
		"no footer":  func(b []byte) []byte { return b[:len(b)-2048] },
		"algorithm":  func(b []byte) []byte { b[77] = 9; return b },
		"parent": func(b []byte) []byte {
			return bytes.Replace(b, []byte("parentCID=ffffffff"), []byte("parentCID=00000001"), 1)
		},
		"other disk":  func(b []byte) []byte { b[12] = 1; return b },
		"capacity":    func(b []byte) []byte { b[19] = 1; b[len(b)-1024+19] = 1; return b },
		"table size":  func(b []byte) []byte { b[44+3] = 1; return b },
		"description": func(b []byte) []byte { b[36+3] = 1; return b },
	} {
		if _, err := openBytes(change(bytes.Clone(good))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestDamagedGrainIsNoticed(t *testing.T) {
	disk := bytes.Repeat([]byte("weights "), 1<<17)
	b := ours(t, disk)
	for _, at := range []int{0, 40, 60} { // the sector in the marker, the stream, its end
		bad := bytes.Clone(b)
		bad[grainSectors*sector+at] ^= 0x55
		m, err := openBytes(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.ReadAt(make([]byte, 512), 0); err == nil {
			t.Errorf("damage at %d went unnoticed", at)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(ours(f, content(66_048)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := openBytes(b)
		if err != nil {
			return
		}
		buf := make([]byte, 100_000)
		for _, off := range []int64{0, m.Size() / 2} {
			_, _ = m.ReadAt(buf, off)
		}
	})
}
