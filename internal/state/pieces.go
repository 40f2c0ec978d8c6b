package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/agibake/agibake/internal/artifact"
)

// pieces reads files of a snapshot from its blobs, in order. A file that was edited goes back and forth between the packs of
// several captures, in each of them forward: they stay open, and are read on.
type pieces struct {
	x      *Snapshot
	s      artifact.Reader
	at     map[Sum]*Blob
	open   []*stream // the last used one last
	memory *buffers
}

// stream is a pack that is read piece by piece.
type stream struct {
	blob *Blob
	read int // pieces of it
	next func() ([]byte, bool)
	stop func()
	err  error
}

// maxStreams bounds the memory of pieces: each takes a window of zstd and a piece.
const maxStreams = 6

// errEnough ends reading a pack.
var errEnough = errors.New("enough")

func newPieces(x *Snapshot, s artifact.Reader) *pieces {
	r := &pieces{x: x, s: s, memory: newBuffers(), at: map[Sum]*Blob{}}
	for i := range x.Contents.Blobs {
		for _, p := range x.Contents.Blobs[i].Pieces {
			r.at[p.Sum] = &x.Contents.Blobs[i]
		}
	}
	return r
}

func (r *pieces) close() { r.shrink(0) }

// shrink closes streams until there are n.
func (r *pieces) shrink(n int) {
	for len(r.open) > n {
		r.open[0].stop()
		r.open = slices.Delete(r.open, 0, 1)
	}
}

// get returns a piece of a pack; the bytes must not be changed, and are valid until the next one.
func (r *pieces) get(ctx context.Context, p Piece) ([]byte, error) {
	b := r.at[p.Sum]
	index := slices.Index(b.Pieces, p)
	i := slices.IndexFunc(r.open, func(s *stream) bool { return s.blob == b })
	if i >= 0 && r.open[i].read > index { // it is behind us
		r.open[i].stop()
		r.open, i = slices.Delete(r.open, i, i+1), -1
	}
	var s *stream
	if i >= 0 {
		s = r.open[i]
		r.open = append(slices.Delete(r.open, i, i+1), s)
	} else {
		r.shrink(maxStreams - 1)
		s = r.start(ctx, b)
		r.open = append(r.open, s)
	}
	for {
		data, ok := s.next()
		if !ok {
			return nil, cmp.Or(s.err, artifact.ErrDigest)
		}
		if s.read++; s.read == index+1 {
			return data, nil
		}
	}
}

// start opens a pack.
func (r *pieces) start(ctx context.Context, b *Blob) *stream {
	s := &stream{blob: b}
	s.next, s.stop = iter.Pull(func(yield func([]byte) bool) {
		s.err = r.read(ctx, b, func(_ Piece, data []byte) error {
			if !yield(data) {
				return errEnough
			}
			return nil
		})
	})
	return s
}

func (r *pieces) read(ctx context.Context, b *Blob, use func(Piece, []byte) error) error {
	return readBlob(ctx, r.s, b, r.x.Seal, r.memory, func(Piece) bool { return true }, use)
}

// write writes a piece, without holding it where it is a blob of its own.
func (r *pieces) write(ctx context.Context, p Piece, w io.Writer) error {
	if b := r.at[p.Sum]; !b.Packed {
		r.close() // its memory is needed
		return r.read(ctx, b, func(_ Piece, data []byte) error { _, err := w.Write(data); return err })
	}
	data, err := r.get(ctx, p)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// copy writes a file.
func (r *pieces) copy(ctx context.Context, e *Entry, w io.Writer) error {
	for _, p := range e.Pieces {
		if err := r.write(ctx, p, w); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}
