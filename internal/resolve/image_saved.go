package resolve

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
)

// saved is one entry of a docker save archive's manifest.json.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (s saved) reference() string {
	for _, t := range s.RepoTags {
		if ref, err := name.NewTag(t); err == nil {
			return dockerName(ref)
		}
	}
	return ""
}

// readSaved stores config and layers of a docker save archive and writes the manifest that it lacks.
func (v *resolver) readSaved(ctx context.Context, file string, have *contents) (lock.Container, error) {
	s := have.saved[0]
	want := map[string]bool{path.Clean(s.Config): true}
	for _, l := range s.Layers {
		want[have.follow(l)] = true
	}
	got := map[string]v1.Descriptor{}
	err := eachMember(ctx, file, func(h *tar.Header, member string, r io.Reader) error {
		if !want[member] || h.Typeflag != tar.TypeReg {
			return nil
		}
		digest, size, err := v.Store.Put(ctx, r, "", h.Size, nil)
		got[member] = v1.Descriptor{Size: size, Digest: v1.Hash{Algorithm: "sha256", Hex: digest}}
		return err
	})
	if err != nil {
		return lock.Container{}, err
	}
	config, ok := got[path.Clean(s.Config)]
	if !ok {
		return lock.Container{}, inputf("config %s is missing", s.Config)
	}
	config.MediaType = types.OCIConfigJSON
	raw, err := v.stored(ctx, config)
	if err != nil {
		return lock.Container{}, err
	}
	if err := checkConfig(raw, len(s.Layers)); err != nil {
		return lock.Container{}, err
	}
	layers, err := v.savedLayers(ctx, s, have, got, raw)
	if err != nil {
		return lock.Container{}, err
	}
	return v.savedManifest(ctx, s, config, layers)
}

// follow returns the member that a name stands for.
func (c *contents) follow(member string) string {
	member = path.Clean(member)
	for range 8 {
		to, ok := c.links[member]
		if !ok {
			break
		}
		member = to
	}
	return member
}

// savedLayers describes the layers, and holds each against the digest in the config: nothing else vouches for them.
func (v *resolver) savedLayers(ctx context.Context, s saved, have *contents, got map[string]v1.Descriptor, rawConfig []byte) ([]v1.Descriptor, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(rawConfig))
	if err != nil {
		return nil, inputf("image config: %w", err)
	}
	var layers []v1.Descriptor
	for i, l := range s.Layers {
		d, ok := got[have.follow(l)]
		if !ok {
			return nil, inputf("layer %s is missing", l)
		}
		mediaType, diffID, err := v.inspectLayer(ctx, d.Digest.Hex)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l, err)
		}
		if want := config.RootFS.DiffIDs[i].Hex; want != diffID {
			return nil, fmt.Errorf("layer %s: %w", l, fault.Mark(fault.Untrusted, &cas.DigestError{Want: want, Got: diffID}))
		}
		d.MediaType = mediaType
		layers = append(layers, d)
	}
	return layers, nil
}

func (v *resolver) savedManifest(ctx context.Context, s saved, config v1.Descriptor, layers []v1.Descriptor) (lock.Container, error) {
	raw, err := ociManifest(config, layers)
	if err != nil {
		return lock.Container{}, err
	}
	d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: v1.Hash{Algorithm: "sha256", Hex: hexSum(raw)}}
	if err := v.keep(ctx, raw, d.Digest); err != nil {
		return lock.Container{}, err
	}
	pinned, err := pinManifest(ctx, d, v.stored)
	pinned.Reference = s.reference()
	return pinned, err
}

// layerTypes are the media types of layers by their compression (OCI image spec, layer.md).
var layerTypes = map[layer.Compression]types.MediaType{
	layer.None: types.OCIUncompressedLayer, layer.Gzip: types.OCILayer, layer.Zstd: types.OCILayerZStd,
}

// inspectLayer finds out how a stored layer is compressed, and the digest (hex) of its tar.
func (v *resolver) inspectLayer(ctx context.Context, digest string) (types.MediaType, string, error) {
	f, err := v.Store.Open(digest)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	r, how, err := layer.Uncompress(ctx, f)
	if err != nil {
		return "", "", fault.Mark(fault.Input, err)
	}
	defer r.Close()
	if how == layer.None {
		return layerTypes[how], digest, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", "", inputf("decompress: %w", err)
	}
	return layerTypes[how], hex.EncodeToString(h.Sum(nil)), nil
}
