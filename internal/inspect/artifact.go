package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/sign"
)

// Artifact is what an appliance in OCI form says of itself. Its structure holds; whether to believe it is for signatures
// to say.
type Artifact struct {
	Name       string           `json:"name"`
	Version    string           `json:"version"`
	Created    time.Time        `json:"created"`
	Digest     digest.Digest    `json:"digest"` // of the index
	LockDigest string           `json:"lockDigest"`
	Machine    artifact.Machine `json:"machine"`
	Rootfs     digest.Digest    `json:"rootfs"` // of the image's manifest
	Layers     []Layer          `json:"layers"`
	Disks      []Disk           `json:"disks"`
	Attached   []Attached       `json:"attached"`
}

// Layer is one of the rootfs image.
type Layer struct {
	Comment string        `json:"comment,omitempty"`
	Digest  digest.Digest `json:"digest"`
	Size    int64         `json:"size"`
}

// Disk is one disk image.
type Disk struct {
	Format string `json:"format"`
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Parts  int    `json:"parts"`
}

// Attached is a document that refers to the appliance.
type Attached struct {
	Kind   string        `json:"kind"` // SBOM, provenance, signature, signed SBOM, signed provenance, or a media type
	Digest digest.Digest `json:"digest"`
}

// Describe reads what an appliance says of itself.
func Describe(ctx context.Context, s artifact.Store, a *artifact.Appliance) (*Artifact, error) {
	d := &Artifact{Name: a.Name, Version: a.Version, Created: a.Created, Digest: a.Index.Digest, LockDigest: a.LockDigest,
		Machine: a.Config.Machine, Rootfs: a.Rootfs.Digest, Attached: []Attached{}}
	comments, err := comments(ctx, s, a)
	if err != nil {
		return nil, err
	}
	for i, l := range a.RootfsLayers {
		layer := Layer{Digest: l.Digest, Size: l.Size}
		if i < len(comments) {
			layer.Comment = comments[i]
		}
		d.Layers = append(d.Layers, layer)
	}
	for _, k := range a.Disks {
		d.Disks = append(d.Disks, Disk{k.Format, k.File, k.Size, k.SHA256, len(k.Parts)})
	}
	found, err := s.Referrers(ctx, a.Index.Digest)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		d.Attached = append(d.Attached, Attached{kindOf(r), r.Digest})
	}
	if r, err := s.Resolve(ctx, artifact.TagOf(a.Index.Digest, ".sig")); err == nil {
		d.Attached = append(d.Attached, Attached{"signature (legacy)", r.Digest})
	} else if !errors.Is(err, artifact.ErrNotFound) {
		return nil, err
	}
	return d, nil
}

// comments are what the rootfs image's history says of its layers; a config that is not there says nothing.
func comments(ctx context.Context, s artifact.Store, a *artifact.Appliance) (list []string, err error) {
	raw, err := artifact.ReadBlob(ctx, s, a.RootfsConfig, artifact.MaxManifest)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, nil
	}
	var config v1.Image
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	for _, h := range config.History {
		if !h.EmptyLayer {
			list = append(list, h.Comment)
		}
	}
	return list, err
}

func kindOf(d v1.Descriptor) string {
	switch d.ArtifactType {
	case artifact.TypeSPDX:
		return "SBOM"
	case artifact.TypeInToto:
		return "provenance"
	case sign.BundleMediaType:
		switch d.Annotations[sign.AnnotationPredicate] {
		case sign.SPDXPredicateType:
			return "signed SBOM"
		case sign.ProvenancePredicateType:
			return "signed provenance"
		}
		return "signature"
	}
	return d.ArtifactType
}
