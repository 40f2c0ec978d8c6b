package ext4

import (
	"errors"
	"fmt"
	"io"

	"github.com/agibake/agibake/internal/sparse"
	"github.com/agibake/agibake/internal/tree"
)

// SetApart makes Write leave out the content of the files of at least so many bytes, and returns them with their places
// in the file system: what reads the disk can read them where they are. Only files are set apart whose Open gives an
// io.ReaderAt. The caller closes them, also those that come with an error.
func (v *Volume) SetApart(least int64) ([]sparse.Inlay, error) {
	var list []sparse.Inlay
	for _, n := range v.nodes {
		if n.entry.Type != tree.File || n.size == 0 || n.size < least || n.apart {
			continue
		}
		r, err := n.entry.Open()
		if err != nil {
			return list, fmt.Errorf("%s: %w", n.entry.Path, err)
		}
		f, ok := r.(interface {
			io.ReaderAt
			io.Closer
		})
		if !ok {
			if err := r.Close(); err != nil {
				return list, err
			}
			continue
		}
		in := sparse.Inlay{File: f}
		left := n.size
		for _, run := range n.runs {
			e := sparse.Extent{Off: int64(run.start) * blockSize, Len: min(left, int64(run.count)*blockSize)}
			in.Extents = append(in.Extents, e)
			left -= e.Len
		}
		list = append(list, in)
		if extra, err := f.ReadAt(make([]byte, 1), n.size); extra > 0 {
			return list, fmt.Errorf("%s: content is longer than its stated size of %d bytes", n.entry.Path, n.size)
		} else if !errors.Is(err, io.EOF) {
			return list, fmt.Errorf("%s: %w", n.entry.Path, err)
		}
		n.apart = true
		v.bytes -= n.size
	}
	return list, nil
}
