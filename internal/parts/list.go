package parts

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/state"
)

// list checks that the snapshot is whole, every blob read back, and gives it its names in the layout.
func (g *received) list(ctx context.Context, report func(done, total int64)) (*Joined, error) {
	j := &Joined{Sealed: g.sealed}
	for _, d := range g.index.Manifests {
		if tag := d.Annotations[v1.AnnotationRefName]; tag != "" || j.Digest == "" {
			if j.Digest != "" && d.Digest != j.Digest {
				return nil, bad("there is more than one snapshot in it")
			}
			if j.Digest = d.Digest; tag != "" {
				j.Tags = append(j.Tags, tag)
			}
			j.root = plain(d)
		}
	}
	if j.Digest == "" {
		return nil, bad("there is no snapshot in it")
	}
	if _, err := state.Look(ctx, g.to, j.root); err != nil {
		return nil, err
	}
	c := &contents{root: j.root, blobs: map[digest.Digest]v1.Descriptor{}}
	var others []v1.Descriptor
	for _, d := range g.index.Manifests {
		if err := c.visit(ctx, g.to, plain(d), 0); err != nil {
			return nil, err
		}
		if d.Digest != j.Digest {
			others = append(others, plain(d))
		}
	}
	blobs := slices.SortedFunc(maps.Values(c.blobs), func(a, b v1.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	read, err := artifact.CheckContent(ctx, g.to, blobs, 2, report)
	if err != nil {
		return nil, err
	}
	if read.Absent > 0 {
		return nil, bad("%d of %d blobs of the snapshot are missing", read.Absent, len(blobs))
	}
	j.Blobs, j.Bytes = read.Blobs, read.Bytes
	return j, g.name(ctx, j, others)
}

// name lists the snapshot in the layout, its signatures first.
func (g *received) name(ctx context.Context, j *Joined, others []v1.Descriptor) error {
	put := func(d v1.Descriptor, tag string) error {
		raw, err := g.to.Manifest(ctx, d)
		if err == nil {
			err = g.to.PutManifest(ctx, d, raw, tag)
		}
		return err
	}
	for _, d := range others {
		if err := put(d, ""); err != nil {
			return err
		}
	}
	tags := j.Tags
	if len(tags) == 0 {
		tags = []string{""}
	}
	for _, tag := range tags {
		if err := put(j.root, tag); err != nil {
			return err
		}
	}
	return nil
}
