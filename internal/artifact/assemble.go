package artifact

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is what an appliance says of itself: the config of the recipe's manifest.
type Config struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Created    time.Time `json:"created"`    // the lock's epoch
	LockDigest string    `json:"lockDigest"` // hex
	Machine    Machine   `json:"machine"`
}

// Machine is what a host needs to know to start the appliance.
type Machine struct {
	CPUs       int      `json:"cpus"`
	Memory     int64    `json:"memoryBytes"`
	Firmware   []string `json:"firmware"`
	SecureBoot bool     `json:"secureBoot,omitempty"`
	Agent      int      `json:"agentPort"`
}

// ApplianceSpec is what goes into an appliance. Everything but the paths reaches its digest.
type ApplianceSpec struct {
	Config Config
	Layers []LayerFile // of the rootfs, the lowest first
	Disks  []DiskFile
	Recipe []byte
	Lock   []byte // the portable form, whose SHA-256 is Config.LockDigest
}

// DiskFile is a disk image on disk.
type DiskFile struct {
	Format string // "qcow2", …
	Path   string // its base name is NAME-VERSION.FORMAT
	Sums
}

// Assembled names the manifests that Assemble wrote.
type Assembled struct{ Index, Rootfs v1.Descriptor }

// Assemble writes an appliance into the layout: the rootfs image, a manifest for each disk, the recipe's manifest and
// the index over them, which index.json lists as VERSION and the rootfs as VERSION-rootfs. Disks of one part are linked
// as Link does it; those of several stay outside (see OpenFolder).
func Assemble(ctx context.Context, l *Layout, s ApplianceSpec) (Assembled, error) {
	var a Assembled
	c := s.Config
	rootfs, err := l.WriteImage(ctx, ImageSpec{Name: c.Name, Version: c.Version, Created: c.Created.Unix(), Layers: s.Layers, Config: v1.ImageConfig{
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"/bin/bash"}}})
	if err != nil {
		return a, err
	}
	a.Rootfs = rootfs
	manifests := []v1.Descriptor{rootfs}
	for _, f := range s.Disks {
		d, err := l.putDisk(ctx, f)
		if err != nil {
			return a, fmt.Errorf("write disk %s: %w", f.Format, err)
		}
		manifests = append(manifests, d)
	}
	recipe, err := l.putRecipe(ctx, s)
	if err != nil {
		return a, fmt.Errorf("write recipe: %w", err)
	}
	raw, index, err := Encode(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, ArtifactType: TypeAppliance, Manifests: append(manifests, recipe),
		Annotations: map[string]string{v1.AnnotationTitle: c.Name, v1.AnnotationVersion: c.Version, v1.AnnotationCreated: stamp(c.Created), AnnotationLock: c.LockDigest},
	})
	if err != nil {
		return a, err
	}
	index.ArtifactType = TypeAppliance
	a.Index = index
	if err := l.PutManifest(ctx, index, raw, c.Version); err != nil {
		return a, err
	}
	return a, l.list(ctx, rootfs, rootfsTag(c.Version))
}

func rootfsTag(version string) string { return version + "-rootfs" }

// NameRootfs lets index.json list the rootfs image of an appliance as Assemble does.
func (l *Layout) NameRootfs(ctx context.Context, a *Appliance) error {
	return l.list(ctx, a.Rootfs, rootfsTag(a.Version))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (l *Layout) putDisk(ctx context.Context, f DiskFile) (v1.Descriptor, error) {
	name, kind := filepath.Base(f.Path), TypeDisk(f.Format)
	m := v1.Manifest{Annotations: map[string]string{
		v1.AnnotationTitle: name, AnnotationDiskSHA256: f.SHA256, AnnotationDiskSize: strconv.FormatInt(f.Size, 10)}}
	for i, p := range f.Parts {
		d := v1.Descriptor{MediaType: kind, Digest: digest.NewDigestFromEncoded(digest.SHA256, p.SHA256), Size: p.Size,
			Annotations: map[string]string{v1.AnnotationTitle: PartName(name, i, len(f.Parts))}}
		if _, err := Hex(d.Digest); err != nil {
			return d, err
		}
		m.Layers = append(m.Layers, d)
	}
	switch len(m.Layers) {
	case 0:
		return v1.Descriptor{}, errors.New("the file is empty")
	case 1:
		if err := l.Link(ctx, m.Layers[0], f.Path); err != nil {
			return v1.Descriptor{}, err
		}
	}
	return l.putArtifact(ctx, kind, m)
}

// PartName is the title of a file's part number i of n, from 0.
func PartName(file string, i, n int) string {
	if n == 1 {
		return file
	}
	return fmt.Sprintf("%s.part-%03d", file, i+1)
}

// PutArtifact adds a manifest with an artifactType over blobs that are there or provided.
func (l *Layout) PutArtifact(ctx context.Context, kind string, layers []v1.Descriptor) (v1.Descriptor, error) {
	return l.putArtifact(ctx, kind, v1.Manifest{Layers: layers})
}

// putArtifact adds the manifest of what is no image, with an empty config unless it has one, and describes it as an
// index does.
func (l *Layout) putArtifact(ctx context.Context, kind string, m v1.Manifest) (v1.Descriptor, error) {
	m.SchemaVersion, m.MediaType, m.ArtifactType = 2, v1.MediaTypeImageManifest, kind
	if m.Config.MediaType == "" {
		m.Config = emptyConfig
		if err := l.PutBlob(ctx, emptyConfig, emptyJSON()); err != nil {
			return v1.Descriptor{}, err
		}
	}
	d, err := l.putJSON(ctx, v1.MediaTypeImageManifest, m)
	d.ArtifactType, d.Platform = kind, &v1.Platform{OS: "unknown", Architecture: "unknown"}
	return d, err
}

func (l *Layout) putRecipe(ctx context.Context, s ApplianceSpec) (v1.Descriptor, error) {
	if got := digest.FromBytes(s.Lock).Encoded(); got != s.Config.LockDigest {
		return v1.Descriptor{}, fmt.Errorf("the lock has digest %s, not %s", got, s.Config.LockDigest)
	}
	config, err := l.putJSON(ctx, TypeConfig, s.Config)
	if err != nil {
		return config, err
	}
	recipe, err := l.putFile(ctx, TypeRecipe, recipeTitle, s.Recipe)
	if err != nil {
		return recipe, err
	}
	lock, err := l.putFile(ctx, TypeLock, lockTitle, s.Lock)
	if err != nil {
		return lock, err
	}
	return l.putArtifact(ctx, TypeRecipe, v1.Manifest{Config: config, Layers: []v1.Descriptor{recipe, lock}})
}

const (
	recipeTitle = "recipe.yaml"
	lockTitle   = "recipe.lock"
)
