package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
)

const maxInMemory = 8 << 20 // bytes of a blob from a reader that cannot go back

// PutBlob implements artifact.Store. What cannot be read twice goes through a temporary file when it is large.
func (r *Repository) PutBlob(ctx context.Context, d v1.Descriptor, in io.Reader) error {
	if err := sound(d); err != nil {
		return err
	}
	if have, err := r.Has(ctx, d); have || err != nil {
		return err
	}
	in, err := artifact.Verified(in, d)
	if err != nil {
		return err
	}
	at, done, err := keep(in, d.Size)
	if err != nil {
		return fmt.Errorf("put blob to %s: %w", r, err)
	}
	defer done()
	open := func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(at, offset, d.Size-offset)), nil
	}
	u := &upload{r: r, d: d, open: open, sent: func(int64) {}, held: func(int64) {}}
	if _, err := u.run(ctx); err != nil {
		return fmt.Errorf("put blob %s to %s: %w", d.Digest, r, err)
	}
	return nil
}

// keep reads in to its end, so that it can be read again.
func keep(in io.Reader, size int64) (io.ReaderAt, func(), error) {
	if size <= maxInMemory {
		data, err := io.ReadAll(in)
		return bytes.NewReader(data), func() {}, err
	}
	f, err := os.CreateTemp("", "agibake-blob-*")
	if err != nil {
		return nil, nil, err
	}
	os.Remove(f.Name()) // it lives as long as it is open
	if _, err := io.Copy(f, in); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, func() { f.Close() }, nil
}
