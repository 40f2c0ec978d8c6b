package inputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
)

// Source gives the inputs of an artifact. Nothing that it holds is believed: the lock says what each input is.
type Source struct {
	s     artifact.Reader
	parts map[string][]v1.Descriptor // by the input's SHA-256, in order
}

// Open reads the manifest of the inputs that a reference names: artifact.ErrNotFound if there is none.
func Open(ctx context.Context, s interface {
	artifact.Reader
	Resolve(ctx context.Context, reference string) (v1.Descriptor, error)
}, reference string) (*Source, error) {
	d, err := s.Resolve(ctx, reference)
	if err != nil {
		return nil, err
	}
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	m, err := artifact.Decode(raw, d)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != artifact.TypeInputs {
		return nil, fault.Mark(fault.Input, fmt.Errorf("%s is a %.80q, not the inputs of an appliance", d.Digest, m.ArtifactType))
	}
	src := &Source{s: s, parts: map[string][]v1.Descriptor{}}
	for _, l := range m.Layers {
		sum, _, _ := strings.Cut(l.Annotations[v1.AnnotationTitle], ".")
		if want := artifact.PartName(sum, len(src.parts[sum]), 2); l.Annotations[v1.AnnotationTitle] != sum && l.Annotations[v1.AnnotationTitle] != want {
			return nil, fault.Mark(fault.Untrusted, fmt.Errorf("inputs %s: part %.100q is not in its place", d.Digest, l.Annotations[v1.AnnotationTitle]))
		}
		src.parts[sum] = append(src.parts[sum], l)
	}
	return src, nil
}

// maxTries is how often a transfer that brings nothing is begun again.
const maxTries = 4

// Get brings the input with a digest (hex) and size into the cache; ok is false where there is none. What an earlier call
// that was cut has brought is not fetched again. A digest that does not hold is of kind fault.Untrusted.
func (s *Source) Get(ctx context.Context, into *cas.Store, sum string, size int64, report func(int64)) (ok bool, err error) {
	parts := s.parts[sum]
	if len(parts) == 0 {
		return false, nil
	}
	p, err := into.Partial(ctx, sum, size)
	if err != nil || into.Has(sum, size) {
		if p != nil {
			err = errors.Join(err, p.Close())
		}
		return err == nil, err
	}
	defer p.Close()
	for try := 0; p.Size() < size; {
		before := p.Size()
		err := s.fetch(ctx, parts, p, report)
		if p.Size() > before {
			try = 0
		}
		if try++; err != nil && (try == maxTries || ctx.Err() != nil || fault.KindOf(err) != fault.Failed) {
			return true, err
		}
	}
	_, err = p.Commit(sum)
	return true, err
}

// fetch appends what is missing.
func (s *Source) fetch(ctx context.Context, parts []v1.Descriptor, p *cas.Partial, report func(int64)) error {
	start := int64(0)
	for _, d := range parts {
		end := start + d.Size
		if d.Size < 0 || end < start {
			return fault.Mark(fault.Untrusted, fmt.Errorf("input %s: %d bytes", d.Digest, d.Size))
		}
		if p.Size() < end {
			r, err := s.s.Blob(ctx, d, p.Size()-start)
			if err != nil {
				return err
			}
			_, err = io.Copy(&counting{p, report}, io.LimitReader(r, end-p.Size()))
			r.Close()
			if err == nil && p.Size() < end {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
		}
		start = end
	}
	if p.Size() < p.Limit() {
		return fault.Mark(fault.Untrusted, fmt.Errorf("its parts have %d bytes, not %d", p.Size(), p.Limit()))
	}
	return nil
}

type counting struct {
	p      *cas.Partial
	report func(int64)
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.p.Write(b)
	if c.report != nil {
		c.report(c.p.Size())
	}
	return n, err
}
