package state

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
)

// Verified says what Verify read.
type Verified struct {
	Blobs  int   `json:"blobs"`
	Bytes  int64 `json:"bytes"` // of blobs, as stored
	Pieces int   `json:"pieces"`
	Files  int   `json:"files"`
}

// Verify reads everything back: each blob and piece is held against its digest, and each file that consists of several
// pieces against its own. Errors are those of the store and artifact.ErrDigest.
func (x *Snapshot) Verify(ctx context.Context, s artifact.Reader, p progress.Func) (*Verified, error) {
	v := &Verified{}
	var total int64
	for _, b := range x.Contents.Blobs {
		total += b.Size
		v.Blobs++
		v.Pieces += len(b.Pieces)
	}
	v.Bytes = total
	var done atomic.Int64
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(readers())
	m := newBuffers()
	room := semaphore.NewWeighted(inMemory)
	for i := range x.Contents.Blobs {
		b := &x.Contents.Blobs[i]
		g.Go(func() error {
			err := room.Acquire(inner, b.memory(x.Seal))
			if err != nil {
				return err
			}
			defer room.Release(b.memory(x.Seal))
			err = readBlob(inner, s, b, x.Seal, m, func(Piece) bool { return true }, func(Piece, []byte) error { return nil })
			p.Count("verify", "blobs", done.Add(b.Size), total)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("verify %s: %w", x.Index.Digest, err)
	}
	for _, e := range x.Tree.Entries {
		if e.Kind == File {
			v.Files++
		}
	}
	if err := x.files(ctx, s, m, p); err != nil {
		return nil, fmt.Errorf("verify %s: %w", x.Index.Digest, err)
	}
	return v, nil
}

// files holds the sums of files of several pieces against the pieces.
func (x *Snapshot) files(ctx context.Context, s artifact.Reader, m *buffers, p progress.Func) error {
	r := newPieces(x, s)
	r.memory = m
	defer r.close()
	for i := range x.Tree.Entries {
		e := &x.Tree.Entries[i]
		if e.Kind != File {
			continue
		}
		if len(e.Pieces) == 1 && e.Pieces[0].Sum == e.Sum {
			continue
		}
		h := sha256.New()
		if err := r.copy(ctx, e, h); err != nil {
			return err
		}
		if Sum(h.Sum(nil)) != e.Sum {
			return fmt.Errorf("%s: %w", e.Path, artifact.ErrDigest)
		}
		p.Step("verify", e.Path)
	}
	return nil
}

// pieces reads files of a snapshot from its blobs, in order. It keeps the packs that it took apart last: the next pieces are
// mostly there, and a file that was edited goes back and forth between the packs of several captures.
type pieces struct {
	x      *Snapshot
	s      artifact.Reader
	at     map[Sum]*Blob
	open   []unpacked // the last used one last
	memory *buffers
}

// unpacked is a pack that was taken apart.
type unpacked struct {
	blob *Blob
	held map[Sum][]byte
	free func() // of the memory that they are in
}

// maxUnpacked bounds what is held of packs, in bytes: a full one, and the smaller ones that later captures added.
const maxUnpacked = maxPackRaw * 3 / 2

func (r *pieces) close() { r.shrink(0) }

// shrink forgets packs until at most n bytes are held.
func (r *pieces) shrink(n int64) {
	var held int64
	for _, u := range r.open {
		held += u.blob.raw()
	}
	for held > n {
		held -= r.open[0].blob.raw()
		r.open[0].free()
		r.open = r.open[1:]
	}
}

func newPieces(x *Snapshot, s artifact.Reader) *pieces {
	r := &pieces{x: x, s: s, memory: newBuffers(), at: map[Sum]*Blob{}}
	for i := range x.Contents.Blobs {
		for _, p := range x.Contents.Blobs[i].Pieces {
			r.at[p.Sum] = &x.Contents.Blobs[i]
		}
	}
	return r
}

// get returns a piece of a pack; the bytes must not be changed, and are valid until the next one.
func (r *pieces) get(ctx context.Context, p Piece) ([]byte, error) {
	b := r.at[p.Sum]
	if i := slices.IndexFunc(r.open, func(o unpacked) bool { return o.blob == b }); i >= 0 {
		o := r.open[i]
		r.open = append(slices.Delete(r.open, i, i+1), o)
		return o.held[p.Sum], nil
	}
	if r.x.Seal != nil { // opening what is sealed takes as much again
		r.close()
	}
	r.shrink(maxUnpacked - b.raw())
	room, free := r.memory.get(b.raw())
	o := unpacked{b, map[Sum][]byte{}, free}
	err := r.read(ctx, b, func(p Piece, data []byte) error {
		n := copy(room, data)
		o.held[p.Sum], room = room[:n:n], room[n:]
		return nil
	})
	if err != nil {
		free()
		return nil, err
	}
	r.open = append(r.open, o)
	return o.held[p.Sum], nil
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
