package registry

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
)

const (
	mib          = 1 << 20
	artifactType = "application/vnd.agibake.appliance.v1+json"
)

func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// sample is an appliance in a layout as a bake makes it, its parts small.
type sample struct {
	t      testing.TB
	dir    string // oci and the disk's file
	layout *artifact.Layout
	root   v1.Descriptor
	sbom   v1.Descriptor
	disk   []byte
	total  int64 // bytes of all blobs
}

// newSample makes one; size is that of the qcow2, which has two parts.
func newSample(t testing.TB, size int) *sample {
	t.Helper()
	dir := t.TempDir()
	l, err := artifact.CreateLayout(filepath.Join(dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	s := &sample{t: t, dir: dir, layout: l, disk: noise(1, size)}
	if err := os.WriteFile(filepath.Join(dir, "saiga-1.qcow2"), s.disk, 0o644); err != nil {
		t.Fatal(err)
	}
	empty := s.blob(v1.MediaTypeEmptyJSON, []byte("{}"))
	config := s.blob(v1.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+digest.FromBytes(noise(2, 2*mib)).String()+`"]}}`))
	rootfs := s.manifest(v1.Manifest{Config: config, Layers: []v1.Descriptor{s.blob(v1.MediaTypeImageLayer, noise(2, 2*mib))}}, "", false)
	rootfs.Platform = &v1.Platform{Architecture: "amd64", OS: "linux"}
	cut := size * 3 / 5
	half := func(i int, data []byte, at int) v1.Descriptor {
		d := v1.Descriptor{MediaType: diskType + "qcow2", Digest: digest.FromBytes(data), Size: int64(len(data)),
			Annotations: map[string]string{v1.AnnotationTitle: fmt.Sprintf("saiga-1.qcow2.part-%03d", i)}}
		l.Provide(d, filepath.Join(dir, "saiga-1.qcow2"), int64(at))
		s.total += d.Size
		return d
	}
	disk := s.manifest(v1.Manifest{ArtifactType: diskType + "qcow2", Config: empty, Layers: []v1.Descriptor{half(1, s.disk[:cut], 0), half(2, s.disk[cut:], cut)},
		Annotations: map[string]string{v1.AnnotationTitle: "saiga-1.qcow2", annotationSize: fmt.Sprint(size)}}, "", false)
	single := s.blob(diskType+"raw", noise(3, 3*mib))
	single.Annotations = map[string]string{v1.AnnotationTitle: "saiga-1.raw"}
	raw := s.manifest(v1.Manifest{ArtifactType: diskType + "raw", Config: empty, Layers: []v1.Descriptor{single}}, "", false)
	unknown := &v1.Platform{Architecture: "unknown", OS: "unknown"}
	disk.Platform, raw.Platform = unknown, unknown
	s.root = s.index([]v1.Descriptor{rootfs, disk, raw}, "1.0.0")
	s.sbom = s.manifest(v1.Manifest{ArtifactType: "application/spdx+json", Config: empty, Layers: []v1.Descriptor{s.blob("application/spdx+json", []byte(`{"spdx":1}`))}, Subject: &s.root}, "", true)
	s.manifest(v1.Manifest{ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", Config: empty, Layers: []v1.Descriptor{s.blob("a/bundle", []byte(`bundle of the sbom`))}, Subject: &s.sbom}, "", true)
	s.manifest(v1.Manifest{Config: config, Layers: []v1.Descriptor{s.blob("a/sig", []byte(`sig`))}}, fallbackTag(s.root.Digest)+".sig", true)
	return s
}

func (s *sample) blob(mediaType string, data []byte) v1.Descriptor {
	s.t.Helper()
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	have, _ := s.layout.Has(context.Background(), d)
	if err := s.layout.PutBlob(context.Background(), d, bytes.NewReader(data)); err != nil {
		s.t.Fatal(err)
	}
	if !have {
		s.total += d.Size
	}
	return d
}

func (s *sample) manifest(m v1.Manifest, tag string, own bool) v1.Descriptor {
	s.t.Helper()
	m.MediaType, m.Versioned = v1.MediaTypeImageManifest, specs.Versioned{SchemaVersion: 2}
	return s.store(v1.MediaTypeImageManifest, m, tag, own)
}

func (s *sample) index(all []v1.Descriptor, tag string) v1.Descriptor {
	s.t.Helper()
	return s.store(v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, ArtifactType: artifactType, Manifests: all}, tag, true)
}

func (s *sample) store(mediaType string, m any, tag string, own bool) v1.Descriptor {
	s.t.Helper()
	raw, d, err := artifact.Encode(mediaType, m)
	if err == nil && own {
		err = s.layout.PutManifest(context.Background(), d, raw, tag)
	} else if err == nil {
		err = s.layout.PutBlob(context.Background(), d, bytes.NewReader(raw))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// open opens a repository with settings that suit tests.
func open(t testing.TB, ref string, o Options) *Repository {
	t.Helper()
	r, err := Open(context.Background(), ref, quick(t, o))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func quick(t testing.TB, o Options) Options {
	if o.State == "" {
		o.State = filepath.Join(t.TempDir(), "uploads")
	}
	if o.Chunk == 0 {
		o.Chunk = mib
	}
	if o.Pause == 0 {
		o.Pause = 5 * time.Millisecond
	}
	if o.Stall == 0 {
		o.Stall = 10 * time.Second
	}
	return o
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// pulled pulls everything into a new folder and compares it with the sample.
func (s *sample) pulled(r *Repository) *Got {
	s.t.Helper()
	dir := s.t.TempDir()
	return s.pulledTo(r, dir)
}

func (s *sample) pulledTo(r *Repository, dir string) *Got {
	s.t.Helper()
	l := must[*artifact.Layout](s.t)(artifact.CreateLayout(filepath.Join(dir, "oci")))
	root := must[v1.Descriptor](s.t)(r.Resolve(context.Background(), r.Reference()))
	got := must[*Got](s.t)(Pull(context.Background(), r, root, l, PullOptions{Files: dir, Tag: "1.0.0"}, nil))
	s.same(l, dir)
	return got
}

// same compares a pulled folder with the sample.
func (s *sample) same(l *artifact.Layout, dir string) {
	s.t.Helper()
	ctx := context.Background()
	if d := must[v1.Descriptor](s.t)(l.Resolve(ctx, "1.0.0")); d.Digest != s.root.Digest {
		s.t.Errorf("the tag names %s", d.Digest)
	}
	g := must[*graph](s.t)(walk(ctx, l, s.root))
	want := must[*graph](s.t)(walk(ctx, s.layout, s.root))
	if len(g.nodes) != len(want.nodes) || len(g.nodes) != 7 {
		s.t.Errorf("%d manifests instead of %d", len(g.nodes), len(want.nodes))
	}
	for _, d := range distinct(g.nodes) {
		r := must[verifiedBlob](s.t)(whole(ctx, l, d))
		if r.n != d.Size {
			s.t.Errorf("%s has %d bytes", d.Digest, r.n)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "saiga-1.qcow2")); err != nil || !bytes.Equal(data, s.disk) {
		s.t.Errorf("the disk differs: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "saiga-1.raw")); err != nil || !bytes.Equal(data, noise(3, 3*mib)) {
		s.t.Errorf("the other disk differs: %v", err)
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name()[0] == '.' && path != dir {
			s.t.Errorf("left: %s", path)
		}
		return err
	})
}

type verifiedBlob struct{ n int64 }

func whole(ctx context.Context, l *artifact.Layout, d v1.Descriptor) (verifiedBlob, error) {
	data, err := artifact.ReadBlob(ctx, l, d, 1<<30)
	return verifiedBlob{int64(len(data))}, err
}
