package preload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
)

// maxUnpacked is the most that one layer may unpack to: a bomb fills no more of the disk.
const maxUnpacked = 64 << 30

const chunk = 1 << 20

// Unpack decompresses the blob of l into the file out, all or nothing, and returns the digest of the uncompressed
// tar. The blob must have the digest and size of l, and the tar the DiffID of l where l has one; otherwise the error
// has kind Untrusted.
func Unpack(ctx context.Context, l Layer, out string) (string, error) {
	diffID, err := unpack(ctx, l, out)
	if err != nil {
		return "", fmt.Errorf("unpack layer %s: %w", l.Digest, err)
	}
	return diffID, nil
}

func unpack(ctx context.Context, l Layer, out string) (string, error) {
	in, err := l.open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	blob := newSummer(io.LimitReader(in, l.Size+1))
	tar, err := layer.Decompress(ctx, l.MediaType, blob)
	if err != nil {
		return "", fault.Mark(fault.Input, err)
	}
	defer tar.Close()
	f, err := atomicfile.Create(out)
	if err != nil {
		return "", err
	}
	defer f.Abort()
	content := newSummer(io.LimitReader(tar, maxUnpacked+1))
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, content, make([]byte, chunk))
	switch {
	case err != nil && ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", err
	case n > maxUnpacked:
		return "", fault.Mark(fault.Input, fmt.Errorf("unpacks to more than %d bytes", int64(maxUnpacked)))
	}
	if _, err := io.Copy(io.Discard, blob); err != nil { // what lies behind the compressed stream
		return "", err
	}
	diffID := content.digest()
	switch {
	case blob.size != l.Size:
		return "", fault.Mark(fault.Untrusted, fmt.Errorf("the blob has not %d bytes", l.Size))
	case blob.digest() != l.Digest:
		return "", fault.Mark(fault.Untrusted, fmt.Errorf("the blob is %s", blob.digest()))
	case l.DiffID != "" && diffID != l.DiffID:
		return "", fault.Mark(fault.Untrusted, fmt.Errorf("the tar is %s, the config wants %s", diffID, l.DiffID))
	}
	if err := in.Close(); err != nil {
		return "", err
	}
	return diffID, f.Commit()
}

// summer hashes and counts what is read through it.
type summer struct {
	r    io.Reader
	hash hash.Hash
	size int64
}

func newSummer(r io.Reader) *summer { return &summer{r: r, hash: sha256.New()} }

func (s *summer) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

func (s *summer) digest() string { return "sha256:" + hex.EncodeToString(s.hash.Sum(nil)) }
