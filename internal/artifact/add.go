package artifact

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/sparse"
)

// NewBlob is a blob in the making, whose digest comes out at its end.
type NewBlob struct {
	f    *atomicfile.File
	l    *Layout
	hash hash.Hash
	size int64
}

// NewBlob starts one. Either Commit or Abort ends it.
func (l *Layout) NewBlob() (*NewBlob, error) {
	f, err := atomicfile.Create(filepath.Join(l.dir, "blobs", "sha256", "new"))
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", l.dir, err)
	}
	return &NewBlob{f: f, l: l, hash: sha256.New()}, nil
}

// Write implements io.Writer.
func (b *NewBlob) Write(p []byte) (int, error) {
	n, err := b.f.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

// Commit gives the blob its name and describes it, without a media type.
func (b *NewBlob) Commit() (v1.Descriptor, error) {
	d := v1.Descriptor{Digest: digest.NewDigest(digest.SHA256, b.hash), Size: b.size}
	path, err := b.l.Path(d.Digest)
	if err == nil {
		err = b.f.CommitAs(path)
	}
	return d, err
}

// Abort removes what was written, unless it was committed.
func (b *NewBlob) Abort() { b.f.Abort() }

// AddBlob stores data, whose digest the caller has computed: what reads a model hashes it anyway.
func (l *Layout) AddBlob(ctx context.Context, d v1.Descriptor, data []byte) error {
	if have, err := l.Has(ctx, d); have || err != nil {
		return err
	}
	path, err := l.Path(d.Digest)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	defer f.Abort()
	direct := sparse.NewDirect(f.File)
	defer direct.Close()
	whole := len(data) &^ (sparse.Align - 1)
	if _, err := direct.WriteAt(data[:whole], 0); err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	if _, err := f.WriteAt(data[whole:], int64(whole)); err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	return f.Commit()
}
