package sparse

import (
	"cmp"
	"io"
	"iter"
	"os"
	"slices"
	"sort"
)

// Inlay is a file whose content lies in a disk without having been copied there.
type Inlay struct {
	File interface {
		io.ReaderAt
		io.Closer
	}
	Extents []Extent // of the disk, in the order of the file's content; together as long as that
}

// Disk is a sparse file with inlays, which hide what the file itself holds in their place.
type Disk struct {
	file   *os.File
	pieces []piece // ascending
}

type piece struct {
	Extent
	file io.ReaderAt
	at   int64 // place in file
}

// NewDisk lays inlays over f. Their extents do not overlap.
func NewDisk(f *os.File, inlays []Inlay) *Disk {
	d := &Disk{file: f}
	for _, in := range inlays {
		at := int64(0)
		for _, e := range in.Extents {
			d.pieces = append(d.pieces, piece{e, in.File, at})
			at += e.Len
		}
	}
	slices.SortFunc(d.pieces, func(a, b piece) int { return cmp.Compare(a.Off, b.Off) })
	return d
}

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at, part, from := off+int64(n), p[n:], io.ReaderAt(d.file)
		place := at
		i := sort.Search(len(d.pieces), func(i int) bool { return d.pieces[i].Off+d.pieces[i].Len > at })
		if i < len(d.pieces) {
			if in := d.pieces[i]; in.Off <= at {
				place, from = in.at+at-in.Off, in.file
				part = part[:min(int64(len(part)), in.Off+in.Len-at)]
			} else {
				part = part[:min(int64(len(part)), in.Off-at)]
			}
		}
		m, err := from.ReadAt(part, place)
		if n += m; m < len(part) {
			return n, err
		}
	}
	return n, nil
}

// Apart tells whether n bytes from off on lie in one piece of an inlay.
func (d *Disk) Apart(off, n int64) bool {
	i := sort.Search(len(d.pieces), func(i int) bool { return d.pieces[i].Off+d.pieces[i].Len > off })
	return i < len(d.pieces) && d.pieces[i].Off <= off && off+n <= d.pieces[i].Off+d.pieces[i].Len
}

// Pieces lists the ranges that inlays fill, by their start.
func (d *Disk) Pieces() []Extent {
	var list []Extent
	for _, p := range d.pieces {
		list = append(list, p.Extent)
	}
	return list
}

// Extents yields the ranges of the first size bytes that may hold data, by their start; they may overlap. It moves
// the file's offset.
func (d *Disk) Extents(size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		left := d.pieces
		for e, err := range Extents(d.file, size) {
			for err == nil && len(left) > 0 && left[0].Off < e.Off {
				if !yield(left[0].Extent, nil) {
					return
				}
				left = left[1:]
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		for _, in := range left {
			if !yield(in.Extent, nil) {
				return
			}
		}
	}
}
