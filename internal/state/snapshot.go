package state

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/seal"
)

// Snapshot is one that was read and whose documents hold together. The blobs are checked when they are read.
type Snapshot struct {
	Index    v1.Descriptor
	Info     Info
	Tree     *Tree
	Contents *Contents
	Seal     *Seal           // nil if everyone can read it
	Parts    []v1.Descriptor // manifests: its own, then those of models
}

// ErrNoSnapshot says that what a reference names is something else. Its kind is fault.Input.
var ErrNoSnapshot = fault.Mark(fault.Input, errors.New("it is no snapshot of a state"))

// Reader is what reading a snapshot needs of an artifact.Store.
type Reader interface {
	artifact.Reader
	Resolve(ctx context.Context, reference string) (v1.Descriptor, error)
}

// Opener turns the sealed forms of a secret into the secret. nil refuses what is sealed.
type Opener func(ctx context.Context, wraps []seal.Wrap) (*seal.Secret, error)

const (
	maxInfo      = 4 << 20
	maxDocument  = 128 << 20 // bytes, as stored
	maxManifests = 64 << 20  // bytes, together
)

// Open reads the snapshot that a reference names. Something else gives ErrNoSnapshot, a broken one an error of kind
// Untrusted.
func Open(ctx context.Context, s Reader, reference string, opener Opener) (*Snapshot, error) {
	d, err := s.Resolve(ctx, reference)
	if err != nil {
		return nil, err
	}
	return Read(ctx, s, d, opener)
}

// Read is Open for an index that is known by its descriptor.
func Read(ctx context.Context, s artifact.Reader, d v1.Descriptor, opener Opener) (*Snapshot, error) {
	x, err := Look(ctx, s, d)
	if err != nil {
		return nil, err
	}
	if err := x.read(ctx, s, opener); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", d.Digest, err)
	}
	return x, nil
}

// Look reads the index of a snapshot and nothing else: only Index and Parts are known then, and of Info what the index
// tells without a key.
func Look(ctx context.Context, s artifact.Reader, d v1.Descriptor) (*Snapshot, error) {
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	doc, err := artifact.Decode(raw, d)
	if err != nil {
		return nil, err
	}
	if doc.ArtifactType != TypeState || doc.MediaType != v1.MediaTypeImageIndex {
		return nil, fmt.Errorf("%s: %w", d.Digest, ErrNoSnapshot)
	}
	x := &Snapshot{Index: v1.Descriptor{MediaType: doc.MediaType, Digest: d.Digest, Size: d.Size}, Parts: doc.Manifests}
	if len(x.Parts) == 0 || x.Parts[0].ArtifactType != TypeState {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("snapshot %s: its index does not begin with its manifest", d.Digest))
	}
	if doc.Annotations[AnnotationSealed] == "true" {
		x.Seal = &Seal{}
	}
	x.Info.Tree = doc.Annotations[AnnotationTree]
	x.Info.Parent = digest.Digest(doc.Annotations[AnnotationParent])
	_ = x.Info.Created.UnmarshalText([]byte(doc.Annotations[v1.AnnotationCreated]))
	return x, nil
}

// own is the snapshot's own manifest, its parts by type.
type own struct {
	config v1.Descriptor
	layers map[string][]v1.Descriptor
}

func (x *Snapshot) read(ctx context.Context, s artifact.Reader, opener Opener) error {
	listed := map[digest.Digest]int64{} // blobs with their sizes
	var mine own
	var total int64
	for i, part := range x.Parts {
		if total += part.Size; part.MediaType != v1.MediaTypeImageManifest || part.Size < 0 || total > maxManifests {
			return fault.Mark(fault.Untrusted, fmt.Errorf("its part %s is no manifest, or more than %d bytes of them", part.Digest, maxManifests))
		}
		raw, err := s.Manifest(ctx, part)
		if err != nil {
			return err
		}
		doc, err := artifact.Decode(raw, part)
		if err != nil {
			return err
		}
		for _, l := range doc.Layers {
			listed[l.Digest] = l.Size
		}
		if i > 0 && doc.ArtifactType != TypeModel {
			return fault.Mark(fault.Untrusted, fmt.Errorf("its part %s is no model", part.Digest))
		}
		if i == 0 {
			if doc.Config == nil || doc.ArtifactType != TypeState {
				return fault.Mark(fault.Untrusted, errors.New("its manifest is not one of a state"))
			}
			mine = own{*doc.Config, map[string][]v1.Descriptor{}}
			for _, l := range doc.Layers {
				mine.layers[l.MediaType] = append(mine.layers[l.MediaType], l)
			}
		}
	}
	if err := x.unseal(ctx, s, mine, opener); err != nil {
		return err
	}
	if err := x.documents(ctx, s, mine); err != nil {
		return err
	}
	return x.agree(listed)
}

// unseal finds the secret of a sealed snapshot.
func (x *Snapshot) unseal(ctx context.Context, s artifact.Reader, mine own, opener Opener) error {
	is := strings.HasSuffix(mine.config.MediaType, sealed)
	if said := x.Seal != nil; said != is {
		return fault.Mark(fault.Untrusted, fmt.Errorf("its index says sealed: %v, and its manifest: %v", said, is))
	}
	if !is {
		return nil
	}
	x.Seal = &Seal{}
	for kind, list := range mine.layers {
		if !strings.HasPrefix(kind, TypeKey+"+") {
			continue
		}
		for _, d := range list {
			data, err := artifact.ReadBlob(ctx, s, d, seal.MaxWrap)
			if err != nil {
				return err
			}
			x.Seal.Wraps = append(x.Seal.Wraps, seal.Wrap{Kind: strings.TrimPrefix(kind, TypeKey+"+"), Data: data})
		}
	}
	if opener == nil {
		return fault.Hint(fault.Mark(fault.Usage, errors.New("it is sealed")), "name what opens it: --identity FILE, --passphrase or --gpg")
	}
	var err error
	x.Seal.Secret, err = opener(ctx, x.Seal.Wraps)
	return err
}
