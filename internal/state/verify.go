package state

import (
	"context"
	"crypto/sha256"
	"fmt"
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
