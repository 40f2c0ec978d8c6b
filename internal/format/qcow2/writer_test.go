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
		w, err := NewWriter(holes{f}, clusters*ClusterSize, Zstd, nil)
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
		w, err := NewWriter(f, size, Deflate, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, f.Name())
	}
	for _, size := range []int64{-512, 0, 511, 1 << 60} {
		if _, err := NewWriter(create(t), size, Zstd, nil); err == nil {
			t.Errorf("size %d was taken", size)
		}
	}
}

// TestStoredClusters lays clusters out in advance, among others.
func TestStoredClusters(t *testing.T) {
	const all = 40
	want := content(all * ClusterSize)
	stored := []Range{{2, 3}, {5, 4}, {30, 10}}
	f := create(t)
	w, err := NewWriter(f, all*ClusterSize, Zstd, stored)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCompressor(Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(StoredStart)
	for n := range int64(all) {
		cluster := want[n*ClusterSize : (n+1)*ClusterSize]
		if n >= 2 && n < 9 || n >= 30 {
			if w.Write(n, cluster, nil) == nil {
				t.Errorf("cluster %d was taken twice", n)
			}
			if _, err := f.WriteAt(cluster, at); err != nil {
				t.Fatal(err)
			}
			at += ClusterSize
			continue
		}
		packed, err := c.Compress(nil, cluster)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(n, cluster, packed); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, f.Name())
	head := make([]byte, StoredStart)
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.Equal(head, w.Head()) {
		t.Errorf("the head is not what was foretold (%v)", err)
	}
	m, err := openFile(t, f.Name())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the image holds something else (%v)", err)
	}
	for _, bad := range [][]Range{{{-1, 2}}, {{0, 0}}, {{39, 2}}, {{4, 4}, {7, 1}}, {{7, 1}, {4, 1}}, {{1, 1 << 62}}} {
		if _, err := NewWriter(create(t), all*ClusterSize, Zstd, bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestWriteRefusesBadNumbers(t *testing.T) {
	w, err := NewWriter(create(t), ClusterSize, Zstd, nil)
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
