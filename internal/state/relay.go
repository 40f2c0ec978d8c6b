package state

import (
	"context"
	"fmt"

	"github.com/agibake/agibake/internal/artifact"
)

// Fetch gets pieces from wherever they are and hands each to use, in any order. The bytes are valid until use returns,
// and nobody has checked them.
type Fetch func(ctx context.Context, list []Piece, use func(Piece, []byte) error) error

// CaptureTree is Capture of a state that is elsewhere: its tree is known, and fetch brings the pieces that the parent does
// not hold.
func CaptureTree(ctx context.Context, to artifact.Store, t *Tree, fetch Fetch, o Options) (*Captured, error) {
	c, err := newCapture(ctx, to, o)
	var r *Captured
	if err == nil {
		if err = c.relay(ctx, t, fetch); err == nil {
			r, err = c.store(ctx, t)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return r, nil
}

// relay stores the pieces of a tree as their files want them.
func (c *capture) relay(ctx context.Context, t *Tree, fetch Fetch) error {
	wanted := map[Sum][2]bool{} // by lane
	var list []Piece
	for _, e := range t.Entries {
		for _, p := range e.Pieces {
			if !c.first(lane(e.Path), p.Sum) {
				continue
			}
			w, listed := wanted[p.Sum]
			if w[lane(e.Path)] = true; !listed {
				list = append(list, p)
				c.total += p.Size
			}
			wanted[p.Sum] = w
		}
	}
	c.have = [2]map[Sum]bool{{}, {}} // piece asks again
	packing, stop := context.WithCancel(ctx)
	defer stop()
	c.pack = newPacker(packing, c.to, c.o.Seal)
	err := fetch(ctx, list, func(p Piece, data []byte) error {
		if int64(len(data)) != p.Size || sumOf(data) != p.Sum {
			return fmt.Errorf("piece %s: %w", p.Sum, artifact.ErrDigest)
		}
		c.report("", p.Size, true)
		if wanted[p.Sum][inPacks] {
			if err := c.pack.add(p, data); err != nil {
				return err
			}
		}
		if !wanted[p.Sum][single] {
			return nil
		}
		b, err := c.piece(ctx, p, data)
		if b != nil {
			c.blobs = append(c.blobs, *b)
		}
		return err
	})
	if err != nil {
		stop()
	}
	packs, err := c.pack.finish(err)
	c.blobs = append(c.blobs, packs...)
	return err
}

// Fetch is how pieces of a snapshot are got from its store, blob by blob.
func (x *Snapshot) Fetch(s artifact.Reader) Fetch {
	return func(ctx context.Context, list []Piece, use func(Piece, []byte) error) error {
		left := map[Sum]bool{}
		for _, p := range list {
			left[p.Sum] = true
		}
		m := newBuffers()
		for i := range x.Contents.Blobs {
			b := &x.Contents.Blobs[i]
			mine := map[Sum]bool{}
			for _, p := range b.Pieces {
				if left[p.Sum] {
					delete(left, p.Sum)
					mine[p.Sum] = true
				}
			}
			if len(mine) == 0 {
				continue
			}
			if err := readBlob(ctx, s, b, x.Seal, m, func(p Piece) bool { return mine[p.Sum] }, use); err != nil {
				return err
			}
		}
		return nil
	}
}
