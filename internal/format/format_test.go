package format

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/sparse"
)

var spec = ova.Spec{Name: "test", Version: "1.0", CPUs: 2, MemoryMiB: 1024, UEFI: true, SecureBoot: true, Description: "a <test> & more"}

// disk makes a sparse disk of text, noise, zeros and every mixture that shifts clusters against each other.
// Of a disk beyond 64 MiB most is a hole.
func disk(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, clusterSize)
	for off := int64(0); off < size; off += clusterSize {
		n := min(clusterSize, size-off)
		var b []byte
		switch k := rng.IntN(8); {
		case k < 2, size > 64<<20 && off%(64<<20) > 1<<20: // hole
			continue
		case k == 2: // zeros that are data to the file system
			b = make([]byte, n)
		case k == 3: // noise
			for i := range noise {
				noise[i] = byte(rng.Uint32())
			}
			b = noise[:n]
		case k == 4: // one byte
			b = make([]byte, n)
			b[n-1] = 1
		default: // text, more or less of it
			var text bytes.Buffer
			for text.Len() < int(n) {
				fmt.Fprintf(&text, "%d %x\n", text.Len(), rng.Uint64()>>rng.IntN(64))
			}
			b = text.Bytes()[:n]
			clear(b[rng.IntN(int(n)):])
		}
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// encode writes all formats into dir and returns the results by format.
func encode(t testing.TB, raw *os.File, dir string, o Options) map[Kind]Result {
	t.Helper()
	var outs []Output
	for _, k := range Kinds {
		outs = append(outs, Output{k, filepath.Join(dir, "out."+string(k))})
	}
	if o.OVA.Name == "" {
		o.OVA = spec
	}
	list, err := Encode(context.Background(), raw, outs, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	results := map[Kind]Result{}
	for _, r := range list {
		results[r.Format] = r
	}
	return results
}

func TestQEMUReadsTheSameDisk(t *testing.T) {
	for _, size := range []int64{1 << 20, 17 << 20, 1<<30 + 1<<20} {
		for _, compression := range []string{"zstd", "zlib"} {
			t.Run(fmt.Sprintf("%dMiB-%s", size>>20, compression), func(t *testing.T) {
				raw := disk(t, size)
				dir := t.TempDir()
				results := encode(t, raw, dir, Options{Compression: compression, Seed: "s"})
				for _, k := range []Kind{Raw, QCOW2, VMDK} {
					referee.Run(t, "qemu-img", "compare", "-f", "raw", "-F", string(k), raw.Name(), results[k].Path)
				}
				referee.Run(t, "qemu-img", "check", "-q", results[QCOW2].Path)
				referee.Run(t, "tar", "-xf", results[OVA].Path, "-C", dir)
				inside, err := os.ReadFile(filepath.Join(dir, "test-1.0-disk1.vmdk"))
				if err != nil {
					t.Fatal(err)
				}
				if alone, _ := os.ReadFile(results[VMDK].Path); !bytes.Equal(inside, alone) {
					t.Error("the VMDK in the OVA differs from the one beside it")
				}
			})
		}
	}
}

func TestDigestsAndSizes(t *testing.T) {
	raw := disk(t, 21<<20)
	for k, r := range encode(t, raw, t.TempDir(), Options{}) {
		b, err := os.ReadFile(r.Path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if r.SHA256 != hex.EncodeToString(sum[:]) || r.Size != int64(len(b)) || r.LogicalSize != 21<<20 {
			t.Errorf("%s: result %+v does not fit the file", k, r)
		}
	}
}

func TestJobsAndPlaceDoNotChangeTheBytes(t *testing.T) {
	raw := disk(t, 9<<20)
	for _, compression := range []string{"zstd", "zlib"} {
		want := encode(t, raw, t.TempDir(), Options{Jobs: 1, Compression: compression})
		for _, jobs := range []int{2, 7} {
			for k, r := range encode(t, raw, t.TempDir(), Options{Jobs: jobs, Compression: compression}) {
				if r.SHA256 != want[k].SHA256 {
					t.Errorf("%s %s: %d jobs give other bytes", k, compression, jobs)
				}
			}
		}
	}
	// One format alone is the same file as one among several.
	all := encode(t, raw, t.TempDir(), Options{})
	for k, r := range all {
		alone, err := Encode(context.Background(), raw, []Output{{k, filepath.Join(t.TempDir(), "x")}}, Options{OVA: spec}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if alone[0].SHA256 != r.SHA256 {
			t.Errorf("%s alone has other bytes", k)
		}
	}
}

// TestInlays encodes a disk with a file laid over it, and the same disk in one piece.
func TestInlays(t *testing.T) {
	raw, over := disk(t, 33<<20), disk(t, 5<<20)
	data, err := os.ReadFile(over.Name())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Inlays: []sparse.Inlay{{File: over, Extents: []sparse.Extent{{Off: 20<<20 + 4096, Len: 3 << 20}, {Off: 8 << 20, Len: 2 << 20}}}}}
	apart := encode(t, raw, t.TempDir(), o)
	if _, err := raw.WriteAt(data[:3<<20], 20<<20+4096); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.WriteAt(data[3<<20:], 8<<20); err != nil {
		t.Fatal(err)
	}
	for k, r := range encode(t, raw, t.TempDir(), Options{}) {
		if r.SHA256 != apart[k].SHA256 {
			t.Errorf("%s: the inlay gives other bytes", k)
		}
		if sum := sha256.Sum256(readFile(t, apart[k].Path)); hex.EncodeToString(sum[:]) != r.SHA256 {
			t.Errorf("%s: the file is not what its digest says", k)
		}
	}
	o.Inlays[0].Extents[1].Len++ // longer than the file
	if _, err := Encode(context.Background(), raw, []Output{{Raw, t.TempDir() + "/x"}}, o, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is too short: %v", err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBadOutputs(t *testing.T) {
	raw := disk(t, 1<<20)
	dir := t.TempDir()
	for name, outs := range map[string][]Output{
		"unknown": {{"vdi", dir + "/a"}},
		"twice":   {{QCOW2, dir + "/a"}, {QCOW2, dir + "/b"}},
	} {
		if _, err := Encode(context.Background(), raw, outs, Options{OVA: spec}, nil); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Encode(context.Background(), raw, []Output{{VMDK, dir + "/no/such/x"}}, Options{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if _, err := Encode(context.Background(), raw, []Output{{OVA, dir + "/x"}}, Options{}, nil); err == nil {
		t.Error("an OVA without a machine was written")
	}
	empty(t, dir)
}

func TestCancelLeavesNothing(t *testing.T) {
	raw := disk(t, 64<<20)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := Encode(ctx, raw, []Output{{QCOW2, dir + "/a"}, {OVA, dir + "/b"}, {Raw, dir + "/c"}}, Options{OVA: spec},
		func(progress.Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	empty(t, dir)
}

// short is a writer on a device that is full after so many bytes.
type short int

func (s *short) Write(p []byte) (int, error) {
	if *s -= short(len(p)); *s < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestFullDeviceStopsTheWork(t *testing.T) {
	const size = 64 << 20
	room := short(1 << 20)
	s := &streamSink{to: []io.Writer{&room}}
	if err := s.open(size, ""); err != nil {
		t.Fatal(err)
	}
	e, err := newEncoder(t.Context(), disk(t, size), size, []Output{{QCOW2, t.TempDir() + "/a"}, {VMDK, t.TempDir() + "/b"}}, Options{Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.abort()
	e.sinks = append(e.sinks, s)
	if err := e.run(context.Background(), nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("left behind: %s", f.Name())
	}
}
