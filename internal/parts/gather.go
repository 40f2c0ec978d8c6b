package parts

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// Source is what a snapshot is read from.
type Source interface {
	artifact.Reader
	Referrers(ctx context.Context, subject digest.Digest) ([]v1.Descriptor, error)
}

const (
	blobFolder = "blobs/sha256/"
	keyPrefix  = "key."           // and the kind of a wrap
	sealedFile = "layout.tar.age" // what the wraps open
	maxBlobs   = 1 << 20
)

// contents is a snapshot with its signatures: everything that it needs.
type contents struct {
	root      v1.Descriptor
	referrers []v1.Descriptor
	blobs     map[digest.Digest]v1.Descriptor // manifests too
}

// gather reads the manifests of a snapshot.
func gather(ctx context.Context, s Source, root v1.Descriptor) (*contents, error) {
	c := &contents{root: plain(root), blobs: map[digest.Digest]v1.Descriptor{}}
	if err := c.visit(ctx, s, c.root, 0); err != nil {
		return nil, err
	}
	list, err := s.Referrers(ctx, root.Digest)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if err := c.visit(ctx, s, d, 0); err != nil {
			return nil, err
		}
		c.referrers = append(c.referrers, plain(d))
	}
	slices.SortFunc(c.referrers, func(a, b v1.Descriptor) int { return bytes.Compare([]byte(a.Digest), []byte(b.Digest)) })
	return c, nil
}

// plain is a descriptor without what stores add to it.
func plain(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, ArtifactType: d.ArtifactType, Digest: d.Digest, Size: d.Size}
}

func (c *contents) visit(ctx context.Context, s Source, d v1.Descriptor, depth int) error {
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return err
	}
	m, err := artifact.Decode(raw, d)
	if err != nil {
		return err
	}
	c.blobs[d.Digest] = d
	if m.Config != nil {
		c.blobs[m.Config.Digest] = *m.Config
	}
	for _, l := range m.Layers {
		c.blobs[l.Digest] = l
	}
	if depth > 1 || len(c.blobs) > maxBlobs {
		return fault.Mark(fault.Untrusted, fmt.Errorf("snapshot %s: more in it than can be", c.root.Digest))
	}
	for _, child := range m.Manifests {
		if err := c.visit(ctx, s, child, depth+1); err != nil {
			return err
		}
	}
	return nil
}
