package artifact

import (
	"bytes"
	"context"
	"fmt"
	"os"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Link adds the file at path as the blob of d: a hard link where the file systems allow it, so the file must not be
// changed in place afterwards, and a copy where not. The size is checked, the digest taken from d.
func (l *Layout) Link(ctx context.Context, d v1.Descriptor, path string) error {
	to, err := l.Path(d.Digest)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() != d.Size {
		err = fmt.Errorf("%s has %d bytes, not %d", path, info.Size(), d.Size)
	}
	if err == nil {
		err = link(ctx, path, to)
	}
	if err != nil {
		return fmt.Errorf("layout %s: blob %s: %w", l.dir, d.Digest, err)
	}
	return nil
}

// putJSON adds a manifest, index or config as a blob that index.json does not list.
func (l *Layout) putJSON(ctx context.Context, mediaType string, value any) (v1.Descriptor, error) {
	data, d, err := Encode(mediaType, value)
	if err != nil {
		return d, err
	}
	return d, l.PutBlob(ctx, d, bytes.NewReader(data))
}

// putFile adds data as a blob with a title.
func (l *Layout) putFile(ctx context.Context, mediaType, title string, data []byte) (v1.Descriptor, error) {
	d := descriptorOf(mediaType, data)
	d.Annotations = map[string]string{v1.AnnotationTitle: title}
	return d, l.PutBlob(ctx, d, bytes.NewReader(data))
}
