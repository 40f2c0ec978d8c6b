package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
)

// Reader is what reading an appliance needs of a Store.
type Reader interface {
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// Appliance is an index whose structure was checked. Titles in it are safe as file names.
type Appliance struct {
	Index         v1.Descriptor
	Name, Version string
	Created       time.Time
	LockDigest    string // hex; also the digest of the blob Lock
	Config        Config
	Manifests     []v1.Descriptor // all that the index lists: Rootfs first, the recipe's last
	Rootfs        v1.Descriptor
	RootfsConfig  v1.Descriptor
	RootfsLayers  []v1.Descriptor
	Disks         []Disk
	RecipeConfig  v1.Descriptor // the blob of Config
	Recipe, Lock  v1.Descriptor // blobs
}

// Disk is one disk image of an appliance.
type Disk struct {
	Format   string
	File     string // NAME-VERSION.FORMAT
	Size     int64  // bytes of the whole file
	SHA256   string // of the whole file, hex
	Manifest v1.Descriptor
	Parts    []v1.Descriptor // blobs that make up the file, in order
}

// Disk returns the disk of a format.
func (a *Appliance) Disk(format string) (Disk, bool) {
	for _, d := range a.Disks {
		if d.Format == format {
			return d, true
		}
	}
	return Disk{}, false
}

// Limits on what OpenAppliance accepts.
const (
	maxManifests = 32
	maxLayers    = 127 // as in container engines
	maxParts     = 999 // three digits: 1 TB
	maxConfig    = 1 << 20
	maxLock      = 32 << 20 // as package lock accepts
)

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)
	formatForm  = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
	hexForm     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ErrNoAppliance says that what a reference names is something else. Its kind is fault.Input.
var ErrNoAppliance = fault.Mark(fault.Input, errors.New("it is no agibake appliance"))

// OpenAppliance reads the appliance that a reference names and checks its structure: types, the digests of its documents, declared
// sizes, titles, and that its parts agree. Signatures and the bytes of layers and disks are not its job. Memory is
// bounded whatever the store holds. Something else gives ErrNoAppliance, a broken one an error of kind Untrusted.
func OpenAppliance(ctx context.Context, s interface {
	Reader
	Resolve(ctx context.Context, reference string) (v1.Descriptor, error)
}, reference string) (*Appliance, error) {
	d, err := s.Resolve(ctx, reference)
	if err != nil {
		return nil, err
	}
	return ReadAppliance(ctx, s, d)
}

// ReadAppliance is OpenAppliance for an index that is known by its descriptor.
func ReadAppliance(ctx context.Context, s Reader, d v1.Descriptor) (*Appliance, error) {
	if d.MediaType != v1.MediaTypeImageIndex {
		return nil, fmt.Errorf("open appliance: %s is a %.80q: %w", d.Digest, d.MediaType, ErrNoAppliance)
	}
	m, err := document(ctx, s, d)
	if err != nil {
		return nil, fmt.Errorf("open appliance: %w", err)
	}
	if m.ArtifactType != TypeAppliance {
		return nil, fmt.Errorf("open appliance: %s is a %.80q: %w", d.Digest, m.ArtifactType, ErrNoAppliance)
	}
	a := &Appliance{Index: v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: TypeAppliance}, Manifests: m.Manifests}
	if err := a.read(ctx, s, m); err != nil {
		if outside := (storeError{}); !errors.As(err, &outside) && fault.KindOf(err) == fault.Failed {
			err = fault.Mark(fault.Untrusted, err)
		}
		return nil, fmt.Errorf("open appliance %s: %w", d.Digest, err)
	}
	return a, nil
}

// document reads a manifest or index that d describes.
func document(ctx context.Context, s Reader, d v1.Descriptor) (*Document, error) {
	if err := sized(d, MaxManifest); err != nil {
		return nil, err
	}
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, storeError{err}
	}
	if err := Check(raw, d); err != nil { // a store that forgot
		return nil, err
	}
	return Decode(raw, d)
}

// storeError is a failure of the store, which says nothing about the appliance.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

// sized refuses descriptors that cannot be true.
func sized(d v1.Descriptor, limit int64) error {
	if _, err := Hex(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 || d.Size > limit {
		return fmt.Errorf("blob %s: %d bytes, at most %d are accepted", d.Digest, d.Size, limit)
	}
	return nil
}

func (a *Appliance) read(ctx context.Context, s Reader, m *Document) error {
	if err := a.annotations(m.Annotations); err != nil {
		return err
	}
	if len(m.Manifests) < 2 || len(m.Manifests) > maxManifests {
		return fmt.Errorf("%d manifests", len(m.Manifests))
	}
	last := len(m.Manifests) - 1
	for i, d := range m.Manifests {
		if d.MediaType != v1.MediaTypeImageManifest {
			return fmt.Errorf("manifest %d is a %.80q", i, d.MediaType)
		}
		doc, err := document(ctx, s, d)
		if err != nil {
			return err
		}
		switch i {
		case 0:
			err = a.rootfs(d, doc)
		case last:
			err = a.recipe(ctx, s, d, doc)
		default:
			err = a.disk(d, doc)
		}
		if err != nil {
			return fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
	}
	return nil
}

func (a *Appliance) annotations(n map[string]string) (err error) {
	a.Name, a.Version, a.LockDigest = n[v1.AnnotationTitle], n[v1.AnnotationVersion], n[AnnotationLock]
	if !nameForm.MatchString(a.Name) {
		return fmt.Errorf("name %.80q", a.Name)
	}
	if !versionForm.MatchString(a.Version) {
		return fmt.Errorf("version %.80q", a.Version)
	}
	if !hexForm.MatchString(a.LockDigest) {
		return fmt.Errorf("lock digest %.80q", a.LockDigest)
	}
	a.Created, err = time.Parse(time.RFC3339, n[v1.AnnotationCreated])
	if err == nil && stamp(a.Created) != n[v1.AnnotationCreated] {
		err = fmt.Errorf("date %.80q", n[v1.AnnotationCreated])
	}
	return err
}

func (a *Appliance) rootfs(d v1.Descriptor, m *Document) error {
	if p := d.Platform; p == nil || p.OS != "linux" || p.Architecture != "amd64" {
		return errors.New("the first is no image for linux/amd64")
	}
	if m.Config == nil || m.Config.MediaType != v1.MediaTypeImageConfig || len(m.Layers) == 0 || len(m.Layers) > maxLayers {
		return fmt.Errorf("it is no image, or has %d layers", len(m.Layers))
	}
	if err := sized(*m.Config, MaxManifest); err != nil {
		return err
	}
	for _, l := range m.Layers {
		if l.MediaType != v1.MediaTypeImageLayerGzip {
			return fmt.Errorf("layer %.80q is a %.80q", l.Digest, l.MediaType)
		}
		if err := sized(l, MaxBlob); err != nil {
			return err
		}
	}
	a.Rootfs, a.RootfsConfig, a.RootfsLayers = d, *m.Config, m.Layers
	return nil
}

func (a *Appliance) disk(d v1.Descriptor, m *Document) error {
	format, ok := strings.CutPrefix(m.ArtifactType, typeDisk)
	disk := Disk{Format: format, Manifest: d, SHA256: m.Annotations[AnnotationDiskSHA256], Parts: m.Layers}
	if !ok || !formatForm.MatchString(format) || d.ArtifactType != m.ArtifactType {
		return fmt.Errorf("it is a %.80q, listed as %.80q", m.ArtifactType, d.ArtifactType)
	}
	if err := aside(d); err != nil {
		return err
	}
	if _, twice := a.Disk(disk.Format); twice {
		return fmt.Errorf("%s disk listed twice", disk.Format)
	}
	disk.File = a.Name + "-" + a.Version + "." + disk.Format
	if title := m.Annotations[v1.AnnotationTitle]; title != disk.File {
		return fmt.Errorf("title %.80q, not %s", title, disk.File)
	}
	if !hexForm.MatchString(disk.SHA256) || m.Config == nil || m.Config.Digest != emptyConfig.Digest {
		return errors.New("it lacks the file's digest, or the empty config")
	}
	if err := disk.parts(); err != nil {
		return err
	}
	if m.Annotations[AnnotationDiskSize] != strconv.FormatInt(disk.Size, 10) {
		return fmt.Errorf("size %.80q, the parts have %d bytes", m.Annotations[AnnotationDiskSize], disk.Size)
	}
	a.Disks = append(a.Disks, disk)
	return nil
}

// aside wants a descriptor that no container engine chooses.
func aside(d v1.Descriptor) error {
	if p := d.Platform; p == nil || p.OS != "unknown" || p.Architecture != "unknown" {
		return errors.New("its platform is not unknown/unknown")
	}
	return nil
}

// parts checks the blobs of a disk and adds up their sizes.
func (k *Disk) parts() error {
	n := len(k.Parts)
	if n == 0 || n > maxParts {
		return fmt.Errorf("%d parts", n)
	}
	for i, p := range k.Parts {
		if err := sized(p, MaxBlob); err != nil {
			return err
		}
		full := k.Parts[0].Size
		if p.MediaType != TypeDisk(k.Format) || p.Size == 0 || p.Size > full || i < n-1 && p.Size != full {
			return fmt.Errorf("part %d is a %.80q of %d bytes", i+1, p.MediaType, p.Size)
		}
		if title := p.Annotations[v1.AnnotationTitle]; title != PartName(k.File, i, n) {
			return fmt.Errorf("part %d has the title %.80q", i+1, title)
		}
		k.Size += p.Size
	}
	if n == 1 && k.Parts[0].Digest.Encoded() != k.SHA256 {
		return errors.New("the file's digest is not that of its only part")
	}
	return nil
}

func (a *Appliance) recipe(ctx context.Context, s Reader, d v1.Descriptor, m *Document) error {
	if m.ArtifactType != TypeRecipe || d.ArtifactType != TypeRecipe || m.Config == nil || m.Config.MediaType != TypeConfig || len(m.Layers) != 2 {
		return fmt.Errorf("it is a %.80q with %d files, not the recipe", m.ArtifactType, len(m.Layers))
	}
	if err := aside(d); err != nil {
		return err
	}
	for i, want := range []struct{ kind, title string }{{TypeRecipe, recipeTitle}, {TypeLock, lockTitle}} {
		if err := sized(m.Layers[i], maxLock); err != nil {
			return err
		}
		if got := m.Layers[i]; got.MediaType != want.kind || got.Annotations[v1.AnnotationTitle] != want.title {
			return fmt.Errorf("file %d is a %.80q with title %.80q", i+1, got.MediaType, got.Annotations[v1.AnnotationTitle])
		}
	}
	a.RecipeConfig, a.Recipe, a.Lock = *m.Config, m.Layers[0], m.Layers[1]
	if a.Lock.Digest.Encoded() != a.LockDigest {
		return fmt.Errorf("the lock is %s, the index says %s", a.Lock.Digest.Encoded(), a.LockDigest)
	}
	if err := sized(*m.Config, maxConfig); err != nil {
		return err
	}
	raw, err := ReadBlob(ctx, s, *m.Config, maxConfig)
	if err != nil {
		return storeError{err}
	}
	if err := json.Unmarshal(raw, &a.Config); err != nil {
		return err
	}
	if c := a.Config; c.Name != a.Name || c.Version != a.Version || !c.Created.Equal(a.Created) || c.LockDigest != a.LockDigest {
		return errors.New("the config names another appliance than the index")
	}
	return nil
}
