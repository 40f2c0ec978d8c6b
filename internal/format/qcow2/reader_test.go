package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// content makes the bytes of a small disk: text, noise and zeros.
func content(size int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, size)
	for off := 0; off < size; off += 40_000 {
		part := b[off:min(off+40_000, size)]
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

func openFile(t *testing.T, path string) (*Image, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Open(f, info.Size())
}

func TestReadsWhatQEMUWrites(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	want := content(9<<20 + 512*3)
	if err := os.WriteFile(raw, want, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"-o compat=0.10", "-o compat=0.10 -c", "", "-c", "-c -o compression_type=zstd", "-o preallocation=metadata",
		"-o cluster_size=512", "-c -o cluster_size=4k", "-o cluster_size=2M", "-c -o cluster_size=2M,compression_type=zstd",
		"-o lazy_refcounts=on", "-o refcount_bits=1",
	} {
		t.Run(args, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			referee.Run(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, strings.Fields(args)...), raw, path)...)
			m, err := openFile(t, path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
			}
		})
	}
}

// ours writes an image of content with a Writer.
func ours(t testing.TB, want []byte, kind Compression) *os.File {
	t.Helper()
	f := create(t)
	w, err := NewWriter(f, int64(len(want)), kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCompressor(kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(want); off += ClusterSize {
		cluster := make([]byte, ClusterSize)
		copy(cluster, want[off:])
		packed, err := c.Compress(nil, cluster)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(int64(off/ClusterSize), cluster, packed); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestReadsWhatItWrites(t *testing.T) {
	want := content(3<<20 + 512)
	for _, kind := range []Compression{Zstd, Deflate} {
		f := ours(t, want, kind)
		check(t, f.Name())
		m, err := openFile(t, f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if m.Compression != kind || m.Version != 3 || m.ClusterSize != ClusterSize {
			t.Errorf("facts %+v", m)
		}
		got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %d bytes, %v; want %d", kind, len(got), err, len(want))
		}
	}
}

func TestRefusesWhatNeedsAnotherFile(t *testing.T) {
	dir := t.TempDir()
	base, over, ext := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "over.qcow2"), filepath.Join(dir, "ext.qcow2")
	referee.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", base, "1M")
	referee.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", over)
	referee.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data"), ext, "1M")
	if _, err := openFile(t, over); err == nil || !strings.Contains(err.Error(), base) {
		t.Errorf("backing file: %v", err)
	}
	if _, err := openFile(t, ext); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("external data: %v", err)
	}
}

func TestBrokenImages(t *testing.T) {
	good, err := os.ReadFile(ours(t, content(1<<20), Zstd).Name())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"empty":           func(b []byte) []byte { return nil },
		"magic":           func(b []byte) []byte { b[0] = 0; return b },
		"version":         func(b []byte) []byte { b[7] = 9; return b },
		"cluster bits":    func(b []byte) []byte { b[23] = 60; return b },
		"small L1":        func(b []byte) []byte { binary.BigEndian.PutUint32(b[36:], 0); return b },
		"L1 far away":     func(b []byte) []byte { binary.BigEndian.PutUint64(b[40:], 1<<60); return b },
		"encrypted":       func(b []byte) []byte { b[35] = 1; return b },
		"unknown feature": func(b []byte) []byte { b[72] = 0x80; return b },
		"compression":     func(b []byte) []byte { b[104] = 7; return b },
		"huge":            func(b []byte) []byte { binary.BigEndian.PutUint64(b[24:], 1<<63); return b },
	} {
		b := change(bytes.Clone(good))
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Open(bytes.NewReader(make([]byte, 200)), 200); !errors.Is(err, ErrMagic) {
		t.Errorf("zeros: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, kind := range []Compression{Zstd, Deflate} {
		b, err := os.ReadFile(ours(f, content(66_048), kind).Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		buf := make([]byte, 100_000)
		for _, off := range []int64{0, m.Size() / 2, m.Size() - int64(len(buf))} {
			if off >= 0 {
				_, _ = m.ReadAt(buf, off)
			}
		}
		_ = fmt.Sprint(m.Compression)
	})
}
