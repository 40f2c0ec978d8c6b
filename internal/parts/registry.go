package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// Type is the artifactType of a part in a registry, and of its layers, which are the part cut in pieces.
const Type = "application/vnd.agibake.state.part.v1"

// layerSize is where a part is cut, in bytes. A piece is kept aside until its digest is known.
var layerSize int64 = 256 << 20

// Repository is what a part in a registry needs of a registry.Repository.
type Repository interface {
	artifact.Store
	String() string
	Tags(ctx context.Context) ([]string, error)
}

type repository struct {
	Repository
	tag string
}

// InRegistry is a repository; with a tag the one part of that name.
func InRegistry(r Repository, tag string) Place { return &repository{r, tag} }

func (p *repository) String() string {
	if p.tag == "" {
		return p.Repository.String()
	}
	return p.Repository.String() + ":" + p.tag
}

var partTag = regexp.MustCompile(`\.[0-9a-f]{8}\.[0-9]+-of-[0-9]+$`)

// Create implements Place.
func (p *repository) Create(ctx context.Context) (File, error) {
	if p.tag != "" {
		d, err := p.Resolve(ctx, p.tag)
		if err == nil {
			_, err = p.part(ctx, d)
		}
		if err != nil && !errors.Is(err, artifact.ErrNotFound) {
			return nil, err
		}
	}
	return &pushed{p: p, ctx: ctx}, nil
}

// Find implements Place.
func (p *repository) Find(ctx context.Context) (list []*Found, err error) {
	tags := []string{p.tag}
	if p.tag == "" {
		if tags, err = p.Tags(ctx); err != nil {
			return nil, err
		}
	}
	for _, tag := range tags {
		if p.tag == "" && !partTag.MatchString(tag) {
			continue
		}
		d, err := p.Resolve(ctx, tag)
		if errors.Is(err, artifact.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		layers, err := p.part(ctx, d)
		if err != nil {
			return nil, err
		}
		f := &Found{Place: p, Name: tag + Suffix, Where: p.Repository.String() + ":" + tag, open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return p.open(ctx, layers, offset)
		}}
		for _, l := range layers {
			f.Size += l.Size
		}
		f.peek(ctx)
		list = append(list, f)
	}
	return list, nil
}

// part returns the pieces of a part.
func (p *repository) part(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
	raw, err := p.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	m, err := artifact.Decode(raw, d)
	if err == nil && m.ArtifactType != Type {
		err = fault.Mark(fault.Input, fmt.Errorf("%s: it is something else than a part, %.100q", p, m.ArtifactType))
	}
	if err != nil {
		return nil, err
	}
	var total int64
	for _, l := range m.Layers {
		if total += l.Size; l.Size < 0 || total < 0 || total > 1<<61 {
			return nil, fault.Mark(fault.Untrusted, fmt.Errorf("%s: impossible sizes", p))
		}
	}
	return m.Layers, nil
}

// open reads the pieces one after the other from an offset on. Their bytes carry sums of their own.
func (p *repository) open(ctx context.Context, layers []v1.Descriptor, offset int64) (io.ReadCloser, error) {
	for len(layers) > 0 && offset >= layers[0].Size {
		offset -= layers[0].Size
		layers = layers[1:]
	}
	return &chain{p: p, ctx: ctx, rest: layers, offset: offset}, nil
}

type chain struct {
	p      *repository
	ctx    context.Context
	rest   []v1.Descriptor
	offset int64 // in the first of them
	now    io.ReadCloser
}

func (c *chain) Read(b []byte) (int, error) {
	for {
		if c.now == nil {
			if len(c.rest) == 0 {
				return 0, io.EOF
			}
			r, err := c.p.Blob(c.ctx, c.rest[0], c.offset)
			if err != nil {
				return 0, err
			}
			c.now, c.rest, c.offset = r, c.rest[1:], 0
		}
		n, err := c.now.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := c.Close(); err != nil {
			return 0, err
		}
	}
}

func (c *chain) Close() error {
	if c.now == nil {
		return nil
	}
	now := c.now
	c.now = nil
	return now.Close()
}
