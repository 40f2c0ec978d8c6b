package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
)

// pushed is a part on its way to a registry.
type pushed struct {
	p      *repository
	ctx    context.Context
	layers []v1.Descriptor
	spool  *os.File
	hash   hash.Hash
	held   int64
}

// Write implements io.Writer.
func (f *pushed) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if f.spool == nil {
			if f.spool, err = os.CreateTemp("", "agibake-part-*"); err != nil {
				return n, err
			}
			if err := os.Remove(f.spool.Name()); err != nil { // nothing is left of it however we end
				return n, err
			}
			f.hash = sha256.New()
		}
		k, err := f.spool.Write(b[:min(int64(len(b)), layerSize-f.held)])
		f.hash.Write(b[:k])
		f.held += int64(k)
		n, b = n+k, b[k:]
		if err == nil && f.held == layerSize {
			err = f.pass()
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// pass sends what was kept aside.
func (f *pushed) pass() error {
	if f.spool == nil {
		return nil
	}
	defer f.Abort()
	d := v1.Descriptor{MediaType: Type, Digest: digest.NewDigest(digest.SHA256, f.hash), Size: f.held,
		Annotations: map[string]string{v1.AnnotationTitle: fmt.Sprintf("%05d", len(f.layers)+1)}}
	f.layers = append(f.layers, d)
	return f.p.PutBlob(f.ctx, d, io.NewSectionReader(f.spool, 0, f.held))
}

// Abort implements File. Blobs without a manifest are collected by the registry.
func (f *pushed) Abort() {
	if f.spool != nil {
		f.spool.Close()
		f.spool, f.held = nil, 0
	}
}

// Commit implements File.
func (f *pushed) Commit(ctx context.Context, name string) (string, error) {
	if err := f.pass(); err != nil {
		return "", err
	}
	empty := v1.DescriptorEmptyJSON
	if err := f.p.PutBlob(ctx, empty, bytes.NewReader(empty.Data)); err != nil {
		return "", err
	}
	tag := f.p.tag
	if tag == "" {
		tag = strings.TrimSuffix(name, Suffix)
	}
	raw, d, err := artifact.Encode(v1.MediaTypeImageManifest, v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest, ArtifactType: Type, Config: empty, Layers: f.layers})
	if err == nil && len(raw) > artifact.MaxManifest {
		err = errors.New("the part is too large for a registry")
	}
	if err != nil {
		return "", err
	}
	return f.p.Repository.String() + ":" + tag, f.p.PutManifest(ctx, d, raw, tag)
}
