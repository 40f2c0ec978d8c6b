package parts

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/seal"
	"github.com/agibake/agibake/internal/state"
)

// received is what came out of a stream. Its blobs are in the layout, which does not list it yet.
type received struct {
	to     *artifact.Layout
	index  *v1.Index
	sealed bool // by what split it
}

func bad(format string, args ...any) error {
	return fault.Mark(fault.Untrusted, fmt.Errorf("read the stream: "+format, args...))
}

// receive reads a stream to its end and puts its blobs into a layout. Each is held against its digest.
func receive(ctx context.Context, r io.Reader, to *artifact.Layout, open state.Opener) (*received, error) {
	got := &received{to: to}
	t := tar.NewReader(r)
	h, err := t.Next()
	if err != nil {
		return nil, broken(ctx, err)
	}
	if got.sealed = strings.HasPrefix(h.Name, keyPrefix); got.sealed {
		err = got.unseal(ctx, t, h, open)
	} else {
		err = got.layout(ctx, t, h)
	}
	if err == nil { // whoever sends holds the end against a sum
		_, err = io.Copy(io.Discard, r)
	}
	return got, err
}

func broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("it is no layout: %w", err)
	}
	return err
}

// unseal reads the wraps and what they open.
func (g *received) unseal(ctx context.Context, t *tar.Reader, h *tar.Header, open state.Opener) error {
	var wraps []seal.Wrap
	for strings.HasPrefix(h.Name, keyPrefix) {
		if h.Size > seal.MaxWrap || len(wraps) > 16 {
			return bad("%.100q has %d bytes", h.Name, h.Size)
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return broken(ctx, err)
		}
		wraps = append(wraps, seal.Wrap{Kind: strings.TrimPrefix(h.Name, keyPrefix), Data: data})
		if h, err = t.Next(); err != nil {
			return broken(ctx, err)
		}
	}
	if h.Name != sealedFile {
		return bad("%.100q where %s should be", h.Name, sealedFile)
	}
	secret, err := open(ctx, wraps)
	if err != nil {
		return err
	}
	plain, err := secret.Decrypt(t)
	if err != nil {
		return err
	}
	inner := tar.NewReader(plain)
	first, err := inner.Next()
	if err != nil {
		return broken(ctx, err)
	}
	if err := g.layout(ctx, inner, first); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, plain)
	return err
}

// layout reads the files of a layout, in the order in which write writes them.
func (g *received) layout(ctx context.Context, t *tar.Reader, h *tar.Header) error {
	for before := ""; ; {
		if h.Typeflag != tar.TypeReg || h.Name <= before {
			return bad("%.100q does not belong there", h.Name)
		}
		if before = h.Name; h.Size < 0 {
			return bad("%.100q has %d bytes", h.Name, h.Size)
		}
		if err := g.file(ctx, t, h); err != nil {
			return err
		}
		var err error
		if h, err = t.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return broken(ctx, err)
		}
	}
	if g.index == nil {
		return bad("%s is missing", v1.ImageIndexFile)
	}
	return nil
}

func (g *received) file(ctx context.Context, t *tar.Reader, h *tar.Header) error {
	name, isBlob := strings.CutPrefix(h.Name, blobFolder)
	switch {
	case isBlob:
		d := v1.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, name), Size: h.Size}
		if _, err := artifact.Hex(d.Digest); err != nil {
			return err
		}
		if err := g.room(d); err != nil {
			return err
		}
		return g.to.PutBlob(ctx, d, t)
	case h.Name == v1.ImageLayoutFile && h.Size <= 4096:
		return nil
	case h.Name == v1.ImageIndexFile && h.Size <= artifact.MaxManifest:
		data, err := io.ReadAll(t)
		if err != nil {
			return broken(ctx, err)
		}
		d := json.NewDecoder(bytes.NewReader(data))
		if err := d.Decode(&g.index); err != nil || g.index == nil {
			return bad("%s is none", v1.ImageIndexFile)
		}
		return nil
	}
	return bad("%.100q does not belong there", h.Name)
}

// room holds a blob against what is free where the layout lies.
func (g *received) room(d v1.Descriptor) error {
	path, err := g.to.Path(d.Digest)
	if err != nil {
		return err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &s); err != nil {
		return err
	}
	if free := int64(s.Bavail) * s.Bsize; d.Size > free {
		return fault.Hint(fmt.Errorf("%d bytes are needed and %d are free", d.Size, free), "make room where the layout lies")
	}
	return nil
}
