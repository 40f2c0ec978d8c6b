package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// Has implements artifact.Store.
func (r *Repository) Has(ctx context.Context, d v1.Descriptor) (bool, error) {
	if _, err := artifact.Hex(d.Digest); err != nil {
		return false, err
	}
	a, err := r.do(ctx, call{method: http.MethodHead, url: r.address("blobs", d.Digest.String())}, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, fmt.Errorf("look for blob %s in %s: %w", d.Digest, r, r.explain(err))
	}
	drain(a)
	return a.StatusCode == http.StatusOK && (a.ContentLength < 0 || a.ContentLength == d.Size), nil
}

// Blob implements artifact.Store. The reader survives lost connections and registries that restart; it gives d.Size
// bytes and no more, unchecked (distribution-spec, "Pulling blobs"; RFC 9110, section 14).
func (r *Repository) Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if _, err := artifact.Hex(d.Digest); err != nil {
		return nil, err
	}
	if offset < 0 || offset > d.Size {
		return nil, fmt.Errorf("blob %s: %d is not within its %d bytes", d.Digest, offset, d.Size)
	}
	b := &blob{ctx: ctx, r: r, d: d, at: offset, tries: r.tries()}
	if b.at == d.Size && d.Size > 0 {
		return b, nil
	}
	for {
		err := b.open()
		if err == nil {
			return b, nil
		}
		if err := b.tries.again(ctx, err); err != nil {
			return nil, b.explain(err)
		}
	}
}

type blob struct {
	ctx   context.Context
	r     *Repository
	d     v1.Descriptor
	at    int64
	body  io.ReadCloser
	exact bool // the body's length is known to be right
	tries *tries
	fresh int64 // bytes since the last gain
}

const leastGain = 64 << 10 // bytes; whoever drips less between faults makes no headway

func (b *blob) explain(err error) error {
	return fmt.Errorf("blob %s of %s: %w", b.d.Digest, b.r, b.r.explain(err))
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for {
		if b.at == b.d.Size {
			return 0, b.end()
		}
		err := error(nil)
		if b.body == nil {
			err = b.open()
		}
		if err == nil {
			var n int
			n, err = b.body.Read(p[:min(int64(len(p)), b.d.Size-b.at)])
			b.at += int64(n)
			if b.fresh += int64(n); b.fresh >= leastGain {
				b.fresh = 0
				b.tries.gained()
			}
			if n > 0 {
				return n, nil // a fault comes back by itself
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
		}
		if err == nil {
			continue
		}
		b.Close()
		if err := b.tries.again(b.ctx, err); err != nil {
			return 0, b.explain(err)
		}
	}
}

// end makes sure that the registry has no more than was declared.
func (b *blob) end() error {
	if b.body != nil && !b.exact {
		if n, _ := io.ReadFull(b.body, make([]byte, 1)); n > 0 {
			return fmt.Errorf("blob %s of %s: it goes on after %d bytes: %w", b.d.Digest, b.r, b.d.Size, artifact.ErrDigest)
		}
	}
	b.exact = true
	return io.EOF
}

// Close implements io.Closer.
func (b *blob) Close() error {
	if b.body == nil {
		return nil
	}
	body := b.body
	b.body = nil
	return body.Close()
}

// open asks for what is missing.
func (b *blob) open() error {
	c := call{method: http.MethodGet, url: b.r.address("blobs", b.d.Digest.String()), header: map[string]string{"Accept-Encoding": "identity"}}
	if b.at > 0 {
		c.header["Range"] = fmt.Sprintf("bytes=%d-%d", b.at, b.d.Size-1) // some know no open end
	}
	a, err := b.r.want(b.ctx, c, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return err
	}
	from, total := int64(0), a.ContentLength
	if a.StatusCode == http.StatusPartialContent {
		var ok bool
		if from, total, ok = contentRange(a.Header.Get("Content-Range")); !ok || from != b.at {
			a.Body.Close()
			return errors.New("the registry sent another range than the one asked for")
		}
	}
	if total >= 0 && total != b.d.Size {
		a.Body.Close()
		return fmt.Errorf("the registry has %d bytes instead of %d: %w", total, b.d.Size, artifact.ErrDigest)
	}
	if from < b.at { // it knows no ranges
		if _, err := io.CopyN(io.Discard, a.Body, b.at-from); err != nil {
			a.Body.Close()
			return err
		}
	}
	b.body, b.exact = a.Body, a.ContentLength >= 0
	return nil
}

// sound refuses descriptors that no honest manifest holds.
func sound(d v1.Descriptor) error {
	if _, err := artifact.Hex(d.Digest); err != nil {
		return fault.Mark(fault.Untrusted, err)
	}
	if d.Size < 0 || d.Size > maxBlob {
		return fault.Mark(fault.Untrusted, fmt.Errorf("blob %s: a size of %d bytes", d.Digest, d.Size))
	}
	return nil
}

const maxBlob = 1 << 44
