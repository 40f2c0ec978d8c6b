package layer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory of a zstd frame: the window of `zstd --ultra -22 --long=27`.
const maxWindow = 128 << 20

// Compression is how bytes are compressed.
type Compression string

// The compressions that layers have.
const (
	None Compression = ""
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// Decompress returns the uncompressed tar of a layer blob. mediaType is an OCI layer type (image-spec, layer.md) or
// its Docker forerunner. As in the engines, the first bytes decide between gzip, zstd and plain tar, because blobs
// with a wrong type are about; the caller checks the diff ID.
func Decompress(ctx context.Context, mediaType string, src io.Reader) (io.ReadCloser, error) {
	if !isLayerType(mediaType) {
		return nil, fmt.Errorf("decompress layer: unknown media type %q", mediaType)
	}
	r, _, err := Uncompress(ctx, src)
	return r, err
}

// Uncompress returns what is inside src, and how it was compressed: its first bytes tell.
func Uncompress(ctx context.Context, src io.Reader) (io.ReadCloser, Compression, error) {
	in := bufio.NewReaderSize(onlyReader{ctx, src}, chunk)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, fmt.Errorf("decompress: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, Gzip, fmt.Errorf("decompress: %w", err)
		}
		return z, Gzip, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(0))
		if err != nil {
			return nil, Zstd, fmt.Errorf("decompress: %w", err)
		}
		return z.IOReadCloser(), Zstd, nil
	}
	return io.NopCloser(in), None, nil
}

func isLayerType(t string) bool {
	t = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(t, "+gzip"), "+zstd"), ".gzip")
	switch t {
	case "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar":
		return true
	}
	return false
}
