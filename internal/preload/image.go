package preload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/tree"
)

// dockerManifest is the media type that Docker's own format gives to what is the same manifest.
const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

// image checks one image and adds its blobs, snapshots and name.
func (pl *placer) image(ctx context.Context, im Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	target := v1.Descriptor{
		MediaType: im.ManifestType, Digest: digest.FromBytes(im.Manifest), Size: int64(len(im.Manifest)),
	}
	manifest, config, err := pl.parse(im, &target)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	name, err := Name(im.Reference, target.Digest)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	if other, taken := pl.names[name]; taken && other.Digest != target.Digest {
		return fault.Mark(fault.Input, fmt.Errorf("%s names another image too", name))
	}
	pl.names[name] = target
	var top *snapshot
	for i, l := range im.Layers {
		if err := pl.layerBlob(manifest.Layers[i], l); err != nil {
			return err
		}
		if top, err = pl.chain(ctx, top, l); err != nil {
			return fmt.Errorf("layer %d (%s): %w", i, l.Digest, err)
		}
	}
	pl.addJSON(target.Digest, im.Manifest, manifestLabels(manifest))
	labels := map[string]string{}
	if top != nil {
		labels["containerd.io/gc.ref.snapshot."+snapshotter] = string(top.chain)
	}
	pl.addJSON(config, im.Config, labels)
	return nil
}

// parse checks that manifest, config and layers belong together, and returns the manifest and the config's digest.
func (pl *placer) parse(im Image, target *v1.Descriptor) (*v1.Manifest, digest.Digest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(im.Manifest, &m); err != nil {
		return nil, "", fmt.Errorf("parse manifest: %w", err)
	}
	if target.MediaType == "" {
		if target.MediaType = m.MediaType; target.MediaType == "" {
			target.MediaType = v1.MediaTypeImageManifest
		}
	}
	if target.MediaType != v1.MediaTypeImageManifest && target.MediaType != dockerManifest {
		return nil, "", fmt.Errorf("%s is not the type of an image manifest", target.MediaType)
	}
	config := digest.FromBytes(im.Config)
	if m.Config.Digest != config || m.Config.Size != int64(len(im.Config)) {
		return nil, "", fmt.Errorf("the config is %s, the manifest wants %.80q", config, string(m.Config.Digest))
	}
	var c v1.Image
	if err := json.Unmarshal(im.Config, &c); err != nil {
		return nil, "", fmt.Errorf("parse config: %w", err)
	}
	arch := pl.Architecture
	if arch == "" {
		arch = "amd64"
	}
	if c.OS != "linux" || c.Architecture != arch {
		return nil, "", fmt.Errorf("the image is for %.40q, not for linux/%s", c.OS+"/"+c.Architecture, arch)
	}
	if len(m.Layers) != len(im.Layers) || len(c.RootFS.DiffIDs) != len(im.Layers) {
		return nil, "", fmt.Errorf("%d layers, %d in the manifest, %d in the config",
			len(im.Layers), len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for i, l := range im.Layers {
		if string(m.Layers[i].Digest) != l.Digest || m.Layers[i].Size != l.Size {
			return nil, "", fmt.Errorf("layer %d is %.80q, the manifest wants %.80q", i, l.Digest, string(m.Layers[i].Digest))
		}
		if string(c.RootFS.DiffIDs[i]) != l.DiffID {
			return nil, "", fmt.Errorf("layer %d unpacks to %.80q, the config wants %.80q", i, l.DiffID, string(c.RootFS.DiffIDs[i]))
		}
		if _, err := artifact.Hex(digest.Digest(l.Digest)); err != nil {
			return nil, "", fmt.Errorf("layer %d: %w", i, err)
		}
		if _, err := artifact.Hex(digest.Digest(l.DiffID)); err != nil {
			return nil, "", fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return &m, config, nil
}

func (pl *placer) layerBlob(d v1.Descriptor, l Layer) error {
	if pl.blobs[d.Digest] != nil {
		return nil
	}
	info, err := os.Stat(l.Path)
	if err != nil {
		return fmt.Errorf("layer blob: %w", err)
	}
	if info.Size() != l.Size {
		return fmt.Errorf("layer blob: %s has %d bytes, the manifest says %d", l.Path, info.Size(), l.Size)
	}
	pl.blobs[d.Digest] = &blob{d.Digest, l.Size, map[string]string{"containerd.io/uncompressed": l.DiffID}, l.open}
	return nil
}

func (pl *placer) addJSON(d digest.Digest, data []byte, labels map[string]string) {
	pl.blobs[d] = &blob{d, int64(len(data)), labels, tree.Bytes(data)}
}

// manifestLabels are the references that keep config and layers from containerd's garbage collection.
func manifestLabels(m *v1.Manifest) map[string]string {
	labels := map[string]string{"containerd.io/gc.ref.content.config": string(m.Config.Digest)}
	for i, l := range m.Layers {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = string(l.Digest)
	}
	return labels
}

// chain returns the snapshot of l over parent, made on first use.
func (pl *placer) chain(ctx context.Context, parent *snapshot, l Layer) (*snapshot, error) {
	id := digest.Digest(l.DiffID)
	if parent != nil {
		id = chainID(parent.chain, id)
	}
	if s := pl.byChain[id]; s != nil {
		return s, nil
	}
	upper := pl.layers[digest.Digest(l.DiffID)]
	if upper == nil {
		if l.Tar == "" {
			return nil, errors.New("not unpacked")
		}
		var err error
		if upper, err = layer.Open(l.Tar); err != nil {
			return nil, fault.Mark(fault.Input, err)
		}
		pl.store.closers = append(pl.store.closers, upper)
		pl.layers[digest.Digest(l.DiffID)] = upper
	}
	s := &snapshot{id: len(pl.chains) + 1, chain: id, parent: parent, tree: tree.New()}
	if err := s.apply(ctx, upper, pl.Epoch); err != nil {
		return nil, fault.Mark(fault.Input, err)
	}
	pl.byChain[id] = s
	pl.chains = append(pl.chains, s)
	return s, nil
}

// chainID names a stack of layers (image-spec, config.md, "Layer ChainID").
func chainID(parent, diffID digest.Digest) digest.Digest {
	return digest.FromString(string(parent) + " " + string(diffID))
}
