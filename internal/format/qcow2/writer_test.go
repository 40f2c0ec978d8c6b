package qcow2

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/sparse"
)

func create(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func check(t *testing.T, path string) {
	t.Helper()
	out, err := referee.Command(t, "qemu-img", "check", "-f", "qcow2", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors were found") {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
}

// holes drops writes of zeros, so that a test can write gigabytes.
type holes struct{ *os.File }

func (h holes) WriteAt(p []byte, off int64) (int, error) {
	if !sparse.IsZero(p) {
		return h.File.WriteAt(p, off)
	}
	info, err := h.Stat()
	if err == nil && info.Size() < off+int64(len(p)) {
		err = h.Truncate(off + int64(len(p)))
	}
	return len(p), err
}

// TestManyRefcountBlocks writes more host clusters than one refcount block counts, at its edge and beyond.
func TestManyRefcountBlocks(t *testing.T) {
	zero := make([]byte, ClusterSize)
	for _, clusters := range []int64{refsInBlock - 8, refsInBlock - 7, refsInBlock - 6, refsInBlock - 5, refsInBlock - 4, refsInBlock, 2 * refsInBlock} {
		f := create(t)
		w, err := NewWriter(holes{f}, clusters*ClusterSize, Zstd)
		if err != nil {
			t.Fatal(err)
		}
		for n := range clusters {
			if err := w.Write(n, zero, nil); err != nil {
				t.Fatal(err)
			}
		}
		size, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := f.Stat(); info.Size() != size {
			t.Errorf("%d clusters: size %d, file %d", clusters, size, info.Size())
		}
		check(t, f.Name())
	}
}

func TestSizes(t *testing.T) {
	for _, size := range []int64{512, ClusterSize, 512<<20 + 512, 40 << 40} {
		f := create(t)
		w, err := NewWriter(f, size, Deflate)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, f.Name())
	}
	for _, size := range []int64{-512, 0, 511, 1 << 60} {
		if _, err := NewWriter(create(t), size, Zstd); err == nil {
			t.Errorf("size %d was taken", size)
		}
	}
}

func TestWriteRefusesBadNumbers(t *testing.T) {
	w, err := NewWriter(create(t), ClusterSize, Zstd)
	if err != nil {
		t.Fatal(err)
	}
	cluster := make([]byte, ClusterSize)
	if err := w.Write(0, cluster, nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{-1, 0, 1} {
		if w.Write(n, cluster, nil) == nil {
			t.Errorf("cluster %d was taken", n)
		}
	}
}

// TestCompressorHasNoMemory holds a used compressor against a fresh one: bytes must depend on the cluster only.
func TestCompressorHasNoMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	words := strings.Fields("the quick brown fox jumps over a lazy dog while 0123 4567 89ab cdef")
	for _, kind := range []Compression{Zstd, Deflate} {
		used, err := NewCompressor(kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			var b bytes.Buffer
			for b.Len() < ClusterSize {
				b.WriteString(words[rng.IntN(1+rng.IntN(len(words)))])
				b.WriteByte(byte(rng.IntN(256)))
			}
			cluster := b.Bytes()[:ClusterSize]
			fresh, err := NewCompressor(kind, 0)
			if err != nil {
				t.Fatal(err)
			}
			want, err := fresh.Compress(nil, cluster)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := used.Compress(nil, cluster); !bytes.Equal(got, want) {
				t.Fatalf("%v: a used compressor gives other bytes", kind)
			}
		}
	}
}
