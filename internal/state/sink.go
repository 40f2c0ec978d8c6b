package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
)

// newBlob is a blob in the making.
type newBlob interface {
	io.Writer
	Commit() (v1.Descriptor, error)
	Abort()
}

// startBlob starts a blob: in place in a layout, and through a temporary file for a registry, which wants to know the
// digest first.
func startBlob(ctx context.Context, to artifact.Store) (newBlob, error) {
	if l, ok := to.(*artifact.Layout); ok {
		return l.NewBlob()
	}
	f, err := os.CreateTemp("", "agibake-state-*")
	if err != nil {
		return nil, err
	}
	// Nameless from the start: nothing is left of it however we end.
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &heldBlob{ctx: ctx, to: to, f: f, hash: sha256.New()}, nil
}

type heldBlob struct {
	ctx  context.Context
	to   artifact.Store
	f    *os.File
	hash hash.Hash
	size int64
}

func (b *heldBlob) Write(p []byte) (int, error) {
	n, err := b.f.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

func (b *heldBlob) Commit() (v1.Descriptor, error) {
	defer b.Abort()
	d := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.NewDigest(digest.SHA256, b.hash), Size: b.size}
	if _, err := b.f.Seek(0, io.SeekStart); err != nil {
		return d, err
	}
	return d, b.to.PutBlob(b.ctx, d, b.f)
}

func (b *heldBlob) Abort() { b.f.Close() }

// addBlob stores data, whose sum is known.
func addBlob(ctx context.Context, to artifact.Store, sum Sum, data []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.NewDigestFromBytes(digest.SHA256, sum[:]), Size: int64(len(data))}
	if l, ok := to.(*artifact.Layout); ok {
		return d, l.AddBlob(ctx, d, data)
	}
	if have, err := to.Has(ctx, d); have || err != nil {
		return d, err
	}
	return d, to.PutBlob(ctx, d, bytes.NewReader(data))
}

// write makes a blob of what fill writes, sealed if there is a secret.
func (s *Seal) write(ctx context.Context, to artifact.Store, fill func(io.Writer) error) (v1.Descriptor, error) {
	b, err := startBlob(ctx, to)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("start blob: %w", err)
	}
	defer b.Abort()
	if s == nil {
		if err := fill(b); err != nil {
			return v1.Descriptor{}, err
		}
		return b.Commit()
	}
	w, err := s.Secret.Encrypt(b)
	if err == nil {
		err = fill(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	return b.Commit()
}

// put stores a small document, sealed if there is a secret, and describes it.
func (s *Seal) put(ctx context.Context, to artifact.Store, mediaType, title string, data []byte) (v1.Descriptor, error) {
	var d v1.Descriptor
	var err error
	if s == nil {
		d, err = addBlob(ctx, to, sha256.Sum256(data), data)
	} else {
		d, err = s.write(ctx, to, func(w io.Writer) error { _, err := w.Write(data); return err })
		mediaType, title = mediaType+sealed, title+".age"
	}
	d.MediaType = mediaType
	if title != "" {
		d.Annotations = map[string]string{v1.AnnotationTitle: title}
	}
	return d, err
}
