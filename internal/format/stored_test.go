package format

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/sparse"
)

const mib = 1 << 20

// weights are the files of a state, as bytes by kind.
func weights(kind string, size int) []byte {
	b := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{byte(len(kind))})
	switch kind {
	case "noise":
		noise.Read(b)
	case "text":
		for i := 0; i < size; i += 64 {
			copy(b[i:], fmt.Sprintf("%064d", i))
		}
	case "sparse": // noise, and as many zeros
		for i := 0; i < size; i += 4 * mib {
			noise.Read(b[i:min(i+2*mib, size)])
		}
	}
	return b
}

// inlay lays content over the disk at the given places, all but the last of so many bytes.
func inlay(t *testing.T, content []byte, size int64, at ...int64) sparse.Inlay {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	in := sparse.Inlay{File: f}
	left := int64(len(content))
	for i, off := range at {
		n := min(size, left)
		if i == len(at)-1 {
			n = left
		}
		in.Extents = append(in.Extents, sparse.Extent{Off: off, Len: n})
		left -= n
	}
	return in
}

// TestStoredFiles encodes a disk with files that do and do not compress, and holds every format against the same disk
// in one piece.
func TestStoredFiles(t *testing.T) {
	const size = 96 * mib
	raw := disk(t, size)
	o := Options{Seed: "s", Inlays: []sparse.Inlay{
		inlay(t, weights("noise", 21*mib+5), 9*mib, 40*mib+4096, 8*mib, 60*mib+3*4096),
		inlay(t, weights("text", 6*mib), 0, 20*mib),
		inlay(t, weights("sparse", 12*mib+77), 0, 70*mib),
	}}
	whole := assembled(t, raw, size, o.Inlays)
	for _, compression := range []string{"zstd", "zlib"} {
		t.Run(compression, func(t *testing.T) {
			o.Compression, o.Jobs = compression, 1
			want := encode(t, raw, t.TempDir(), o)
			for _, k := range []Kind{Raw, QCOW2, VMDK} {
				referee.Run(t, "qemu-img", "compare", "-f", "raw", "-F", string(k), whole, want[k].Path)
			}
			referee.Run(t, "qemu-img", "check", "-q", want[QCOW2].Path)
			for k, r := range want {
				if sum := sha256.Sum256(readFile(t, r.Path)); hex.EncodeToString(sum[:]) != r.SHA256 {
					t.Errorf("%s: the file is not what its digest says", k)
				}
			}
			for _, jobs := range []int{2, 5} {
				o.Jobs = jobs
				for k, r := range encode(t, raw, t.TempDir(), o) {
					if r.SHA256 != want[k].SHA256 {
						t.Errorf("%s: %d jobs give other bytes", k, jobs)
					}
				}
			}
			alone, err := Encode(t.Context(), raw, []Output{{QCOW2, t.TempDir() + "/x"}}, o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if alone[0].SHA256 != want[QCOW2].SHA256 {
				t.Error("a qcow2 alone has other bytes")
			}
			image := readFile(t, want[QCOW2].Path)
			data := readFile(t, whole)
			// The whole clusters of the noise, in the order of the disk, follow the header; nothing else does.
			at := int64(qcow2.StoredStart)
			for _, e := range []sparse.Extent{{Off: 8 * mib, Len: 9 * mib}, {Off: 40*mib + clusterSize, Len: 9*mib - clusterSize}, {Off: 60*mib + clusterSize, Len: 3*mib - clusterSize}} {
				if !bytes.Equal(image[at:at+e.Len], data[e.Off:e.Off+e.Len]) {
					t.Errorf("the image holds something else than the disk's %+v at %d", e, at)
				}
				at += e.Len
			}
			if entry := image[at]; entry != 0 && entry != 0x80 {
				t.Errorf("no L1 table at %d: % x", at, image[at:at+8])
			}
		})
	}
}

// assembled writes the disk in one piece and returns its path.
func assembled(t *testing.T, raw *os.File, size int64, inlays []sparse.Inlay) string {
	t.Helper()
	b := make([]byte, size)
	if _, err := sparse.NewDisk(raw, inlays).ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "whole.raw")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// fickle gives other bytes each time that it is read.
type fickle struct{ next atomic.Uint32 }

func (f *fickle) Close() error { return nil }
func (f *fickle) ReadAt(p []byte, off int64) (int, error) {
	rand.NewChaCha8([32]byte{byte(f.next.Add(1))}).Read(p)
	return len(p), nil
}

// TestFilesThatChange: whatever a file gives, the digest is that of the image; one that is too short is no disk.
func TestFilesThatChange(t *testing.T) {
	raw := disk(t, 16*mib)
	o := Options{Inlays: []sparse.Inlay{{File: &fickle{}, Extents: []sparse.Extent{{Off: 4 * mib, Len: 5 * mib}}}}, Jobs: 1}
	r, err := Encode(t.Context(), raw, []Output{{QCOW2, t.TempDir() + "/x"}}, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(readFile(t, r[0].Path)); hex.EncodeToString(sum[:]) != r[0].SHA256 {
		t.Error("the file is not what its digest says")
	}
	dir := t.TempDir()
	short := inlay(t, weights("noise", 5*mib), 0, 4*mib)
	short.Extents[0].Len += mib
	for _, k := range Kinds {
		_, err := Encode(context.Background(), raw, []Output{{k, dir + "/x"}}, Options{Inlays: []sparse.Inlay{short}, OVA: spec}, nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s of a file that is too short: %v", k, err)
		}
	}
	empty(t, dir)
}

// TestFullDeviceOfStoredFiles has no room for what is written past the cache.
func TestFullDeviceOfStoredFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("SKIPPED: mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	o := Options{Inlays: []sparse.Inlay{inlay(t, weights("noise", 9*mib), 0, 4*mib)}}
	for _, k := range []Kind{Raw, QCOW2} {
		_, err := Encode(t.Context(), disk(t, 16*mib), []Output{{k, dir + "/x"}}, o, nil)
		at := (*os.PathError)(nil)
		if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &at) || !strings.HasPrefix(at.Path, dir) {
			t.Errorf("%s: %v", k, err)
		}
		empty(t, dir)
	}
}

func TestRegions(t *testing.T) {
	const cluster, region = int64(clusterSize), int64(regionSize)
	got := regions([]sparse.Extent{
		{Off: 5, Len: leastRange * cluster},                // one cluster too few is whole
		{Off: 20*cluster - 1, Len: leastRange*cluster + 2}, // just enough
		{Off: 100*cluster + 1, Len: (2*region+3)*cluster - 1},
		{Off: 3 * region * cluster, Len: leastRange * cluster}, // half beyond the end
	}, (3*region+leastRange/2)*cluster)
	want := []qcow2.Range{{First: 20, Count: leastRange}, {First: 101, Count: region}, {First: 101 + region, Count: region},
		{First: 101 + 2*region, Count: 2}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
