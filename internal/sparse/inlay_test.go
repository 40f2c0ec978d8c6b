package sparse

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestDiskReadsInlaysInPlace(t *testing.T) {
	const size = 4 << 20
	base := write(t, size, map[int64]string{0: "start", 1 << 20: "hidden", size - 3: "end"})
	a, b := write(t, 0, map[int64]string{0: "0123456789"}), write(t, 0, map[int64]string{0: "abc"})
	d := NewDisk(base, []Inlay{
		{a, []Extent{{3 << 20, 4}, {1 << 20, 6}}}, // in two parts, the second one lower
		{b, []Extent{{3<<20 + 4, 3}}},
	})
	want := make([]byte, size)
	for off, s := range map[int64]string{0: "start", 1 << 20: "456789", 3 << 20: "0123abc", size - 3: "end"} {
		copy(want[off:], s)
	}
	got := make([]byte, size)
	if n, err := d.ReadAt(got, 0); n != size || err != nil && err != io.EOF {
		t.Fatal(n, err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the disk holds something else")
	}
	for off := int64(3<<20 - 2); off < 3<<20+9; off++ {
		part := make([]byte, 5)
		if _, err := d.ReadAt(part, off); err != nil || !bytes.Equal(part, want[off:off+5]) {
			t.Errorf("at %d: %q, %v", off, part, err)
		}
	}

	covered, last := make([]byte, size), int64(0)
	for e, err := range d.Extents(size) {
		if err != nil || e.Off < last {
			t.Fatalf("extent %+v after %d, %v", e, last, err)
		}
		last = e.Off
		copy(covered[e.Off:e.Off+e.Len], got[e.Off:])
	}
	if !bytes.Equal(covered, want) {
		t.Error("the extents leave data out")
	}
}

func TestDiskWithAShortInlay(t *testing.T) {
	base := write(t, 1<<20, nil)
	short := write(t, 0, map[int64]string{0: "abc"})
	d := NewDisk(base, []Inlay{{short, []Extent{{4096, 10}}}})
	if n, err := d.ReadAt(make([]byte, 8192), 0); n != 4096+3 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v", n, err)
	}
}
