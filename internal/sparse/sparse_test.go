package sparse

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// write makes a file of size bytes with data at the given offsets.
func write(t *testing.T, size int64, data map[int64]string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, s := range data {
		if _, err := f.WriteAt([]byte(s), off); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestExtentsCoverAllData(t *testing.T) {
	const size = 8<<20 + 77
	data := map[int64]string{0: "first", 3 << 20: "middle", size - 4: "last"}
	f := write(t, size, data)
	var sum, end int64
	for e, err := range Extents(f, size) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Off < end || e.Len <= 0 || e.Off+e.Len > size {
			t.Fatalf("extent %+v after %d", e, end)
		}
		for off, s := range data {
			if e.Off <= off && off+int64(len(s)) <= e.Off+e.Len {
				delete(data, off)
			}
		}
		sum, end = sum+e.Len, e.Off+e.Len
	}
	if len(data) != 0 {
		t.Errorf("not covered: %v", data)
	}
	if sum == size {
		t.Log("this file system does not report holes")
	}
}

func TestExtentsOfEmptyAndHole(t *testing.T) {
	for _, size := range []int64{0, 1 << 20} {
		for e, err := range Extents(write(t, size, nil), size) {
			if err != nil || e.Len > size {
				t.Errorf("size %d: %+v, %v", size, e, err)
			}
		}
	}
}

func TestExtentsWithoutSeekData(t *testing.T) {
	f, err := os.Open("/proc/self/maps") // procfs does not know SEEK_DATA
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	var got []Extent
	for e, err := range Extents(f, 100) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 1 || got[0] != (Extent{0, 100}) {
		t.Errorf("got %v", got)
	}
}

func TestCloneSharesOrFails(t *testing.T) {
	src, dst := write(t, 1<<20, map[int64]string{4096: "a"}), write(t, 0, nil)
	if err := Clone(dst, src); err != nil {
		t.Skipf("this file system does not clone: %v", err)
	}
	want, _ := os.ReadFile(src.Name())
	got, _ := os.ReadFile(dst.Name())
	if !bytes.Equal(got, want) {
		t.Error("the clone differs")
	}
}

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 1 << 16, 1<<16 + 1, 200_000} {
		b := make([]byte, n)
		if !IsZero(b) {
			t.Errorf("%d zeros", n)
		}
		if n > 0 {
			b[n-1] = 1
			if IsZero(b) {
				t.Errorf("%d bytes, the last is 1", n)
			}
		}
	}
}
