// Package sparse finds the data in files that are mostly holes.
package sparse

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// Extent is a range of a file, in bytes.
type Extent struct{ Off, Len int64 }

// Extents yields the ranges of the first size bytes of f that may hold data, in order. What lies between them reads
// as zeros. Where the file system cannot tell holes from data (lseek(2), SEEK_DATA), it yields one extent over all.
// It moves the file's offset.
func Extents(f *os.File, size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for off := int64(0); off < size; {
			e, err := next(f, off, size)
			if err != nil {
				yield(Extent{}, fmt.Errorf("find data in %s: %w", f.Name(), err))
				return
			}
			if e.Len == 0 || !yield(e, nil) {
				return
			}
			off = e.Off + e.Len
		}
	}
}

// next returns the first extent of data in [off, size); its Len is 0 where there is none.
func next(f *os.File, off, size int64) (Extent, error) {
	start, err := f.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return Extent{}, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
		return Extent{off, size - off}, nil
	case err != nil:
		return Extent{}, err
	case start >= size:
		return Extent{}, nil
	}
	end, err := f.Seek(start, unix.SEEK_HOLE)
	if err != nil {
		return Extent{}, err
	}
	return Extent{start, min(end, size) - start}, nil
}

var zeros [1 << 16]byte

// IsZero reports whether b holds nothing but zeros.
func IsZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// Clone makes dst equal to src by sharing its blocks, where the file system can (ioctl_ficlone(2)).
func Clone(dst, src *os.File) error {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}
