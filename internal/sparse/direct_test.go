package sparse

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestDirectWrites(t *testing.T) {
	dirs := []string{t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "agibake-test-"); err == nil { // a file system in memory
		defer os.RemoveAll(dir)
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d := NewDirect(f)
		if d.direct == nil {
			t.Logf("no direct writes in %s", dir)
		}
		const piece, pieces = 128 << 10, 16
		want := make([]byte, piece*pieces+9000)
		for i := range want {
			want[i] = byte(i * i >> 7)
		}
		var wg sync.WaitGroup
		for i := range pieces {
			wg.Go(func() {
				b := Aligned(piece)
				copy(b, want[i*piece:])
				if i%3 == 1 { // such memory as well
					b = append([]byte{0}, b...)[1:]
				}
				if n, err := d.WriteAt(b, int64(i)*piece); n != piece || err != nil {
					t.Error(n, err)
				}
			})
		}
		wg.Wait()
		end := Aligned(9000) // no whole number of blocks
		copy(end, want[piece*pieces:])
		if n, err := d.WriteAt(end, piece*pieces); n != len(end) || err != nil {
			t.Error(n, err)
		}
		copy(want[5000:], end[:4096]) // nor a whole block's place
		if _, err := d.WriteAt(end[:4096], 5000); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the file holds something else (%v)", dir, err)
		}
	}
}

func TestDirectWriteFails(t *testing.T) {
	f := write(t, 1<<20, nil)
	d := NewDirect(f)
	d.Close()
	if d.direct == nil {
		t.Skip("no direct writes here")
	}
	_, err := d.WriteAt(Aligned(Align), 0)
	if at := (*os.PathError)(nil); !errors.As(err, &at) || at.Path != f.Name() {
		t.Errorf("the error %v does not name the file", err)
	}
}

func TestAligned(t *testing.T) {
	for _, n := range []int{0, 1, Align, 3*Align + 5} {
		if b := Aligned(n); len(b) != n || cap(b) != n || n > 0 && misaligned(b) {
			t.Errorf("%d bytes: %d of %d", n, len(b), cap(b))
		}
	}
}

func TestApart(t *testing.T) {
	base := write(t, 1<<20, nil)
	d := NewDisk(base, []Inlay{{base, []Extent{{4096, 100}, {4196, 50}}}})
	for off, want := range map[int64]bool{4095: false, 4096: true, 4180: true, 4181: false, 4196: true, 4246: false} {
		if d.Apart(off, 16) != want {
			t.Errorf("16 bytes at %d: %v", off, !want)
		}
	}
}
