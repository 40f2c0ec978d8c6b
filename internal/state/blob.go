package state

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/agibake/agibake/internal/artifact"
)

// stored returns the blobs of a snapshot that the store really has, for others to share.
func (x *Snapshot) stored(ctx context.Context, s artifact.Store) (list []Blob, err error) {
	if x == nil {
		return nil, nil
	}
	_, local := s.(*artifact.Layout)
	for _, b := range x.Contents.Blobs {
		have := true // a registry that has a manifest has its blobs
		if local {
			if have, err = s.Has(ctx, b.descriptor()); err != nil {
				return nil, err
			}
		}
		if have {
			list = append(list, b)
		}
	}
	return list, nil
}

// readBlob gives the pieces of a blob that want asks for, checked, to use; the bytes are valid until it returns.
func readBlob(ctx context.Context, s artifact.Reader, b *Blob, key *Seal, m *buffers, want func(Piece) bool, use func(Piece, []byte) error) error {
	in, err := s.Blob(ctx, b.descriptor(), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	whole, err := artifact.Verified(&cancelled{ctx, in}, b.descriptor())
	if err != nil {
		return err
	}
	r := whole
	if key != nil {
		if r, err = key.Secret.Decrypt(r); err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	if b.Packed {
		err = readPack(r, b, m, want, use)
	} else {
		err = readPiece(r, b, m, want, use)
	}
	if err == nil { // what stands behind the pieces must be right as well
		_, err = io.Copy(io.Discard, whole)
	}
	return err
}

func readPiece(r io.Reader, b *Blob, m *buffers, want func(Piece) bool, use func(Piece, []byte) error) error {
	p := b.Pieces[0]
	if !want(p) {
		return nil
	}
	data, free := m.get(p.Size)
	defer free()
	if _, err := io.ReadFull(r, data); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	if sumOf(data) != p.Sum {
		return fmt.Errorf("blob %s: %w", b.Digest, artifact.ErrDigest)
	}
	return use(p, data)
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
