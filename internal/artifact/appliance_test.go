package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

// gzipLayer is a layer with files, in the form that an appliance has.
func gzipLayer(t testing.TB, comment string, files map[string]string) LayerFile {
	t.Helper()
	tr := tree.New()
	for name, content := range files {
		if err := tr.WriteFile(name, []byte(content), 0o640, epoch); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "layer.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := layer.NewGzipWriter(t.Context(), f, 2)
	id, err := layer.Write(t.Context(), z, tr)
	if err := errors.Join(z.Close(), err); err != nil {
		t.Fatal(err)
	}
	return LayerFile{Path: f.Name(), DiffID: id, Digest: z.Digest(), Size: z.Size(), MediaType: v1.MediaTypeImageLayerGzip, Comment: comment}
}

// appliance writes a small one into the folder dir as a bake does, its disks cut after limit bytes.
func appliance(t testing.TB, dir string, limit int64) (*Layout, Assembled) {
	t.Helper()
	lock := []byte("apiVersion: agibake/lock/v1\n")
	s := ApplianceSpec{
		Config: Config{Name: "saiga", Version: "1.0.0", Created: *Time(epoch), LockDigest: digest.FromBytes(lock).Encoded(),
			Machine: Machine{CPUs: 2, Memory: 4 << 30, Firmware: []string{"bios", "uefi"}, SecureBoot: true, Agent: 8443}},
		Layers: []LayerFile{gzipLayer(t, "base system", map[string]string{"etc/a": "one", "usr/b": "two"}), gzipLayer(t, "configuration", map[string]string{"etc/a": "three"})},
		Recipe: []byte("name: saiga\n"), Lock: lock,
	}
	for _, format := range []string{"qcow2", "raw"} {
		path := filepath.Join(dir, "saiga-1.0.0."+format)
		data := []byte(strings.Repeat(format, 100))
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		sums, err := SumFile(t.Context(), bytes.NewReader(data), limit)
		if err != nil {
			t.Fatal(err)
		}
		s.Disks = append(s.Disks, DiskFile{Format: format, Path: path, Sums: sums})
	}
	l, err := CreateLayout(filepath.Join(dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Assemble(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	return l, a
}

// TestAppliance reads back what was assembled, from disks of one part and of several.
func TestAppliance(t *testing.T) {
	for _, c := range []struct {
		limit        int64
		qcow2, parts int
	}{{0, 1, 1}, {300, 2, 1}, {100, 5, 3}, {499, 2, 1}, {500, 1, 1}} {
		dir := t.TempDir()
		_, made := appliance(t, dir, c.limit)
		l, a, err := OpenFolder(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if a.Index.Digest != made.Index.Digest || a.Rootfs.Digest != made.Rootfs.Digest || a.Name != "saiga" || a.Version != "1.0.0" ||
			!a.Created.Equal(*Time(epoch)) || a.Config.Machine.Agent != 8443 || len(a.RootfsLayers) != 2 || len(a.Disks) != 2 {
			t.Fatalf("%+v", a)
		}
		q, _ := a.Disk("qcow2")
		raw, _ := a.Disk("raw")
		if len(q.Parts) != c.qcow2 || len(raw.Parts) != c.parts {
			t.Errorf("limit %d: %d and %d parts", c.limit, len(q.Parts), len(raw.Parts))
		}
		for _, d := range a.Disks {
			var whole []byte
			for _, p := range d.Parts {
				inside, _ := l.Path(p.Digest)
				if _, err := os.Stat(inside); (err == nil) != (len(d.Parts) == 1) {
					t.Errorf("limit %d, %d parts: in the layout: %v", c.limit, len(d.Parts), err)
				}
				data, err := ReadBlob(t.Context(), l, p, 1000)
				if err != nil {
					t.Fatal(err)
				}
				whole = append(whole, data...)
			}
			if file, _ := os.ReadFile(filepath.Join(dir, d.File)); !bytes.Equal(whole, file) || digest.FromBytes(whole).Encoded() != d.SHA256 || d.Size != int64(len(whole)) {
				t.Errorf("limit %d: %s is not its %d parts", c.limit, d.File, len(d.Parts))
			}
		}
		again := t.TempDir()
		if _, other := appliance(t, again, c.limit); other.Index.Digest != made.Index.Digest {
			t.Errorf("limit %d: another folder, another digest", c.limit)
		}
		if diff := cmp.Diff(files(t, dir), files(t, again)); diff != "" {
			t.Error(diff)
		}
	}
}

// memory is a store of documents.
type memory map[digest.Digest][]byte

func (m memory) Manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	data, ok := m[d.Digest]
	if !ok {
		return nil, ErrNotFound
	}
	return data, nil
}

func (m memory) Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	data, err := m.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), nil
}

func (m memory) put(t testing.TB, d *v1.Descriptor, value any) {
	raw, n, err := Encode(d.MediaType, value)
	if err != nil {
		t.Fatal(err)
	}
	d.Digest, d.Size = n.Digest, n.Size
	m[d.Digest] = raw
}

// documents are those of an appliance, to be changed.
type documents struct {
	index     v1.Index
	manifests []v1.Manifest
	config    Config
}

func load(t testing.TB, limit int64) documents {
	t.Helper()
	var d documents
	l, a := appliance(t, t.TempDir(), limit)
	read := func(desc v1.Descriptor, to any) {
		raw, err := ReadBlob(t.Context(), l, desc, MaxManifest)
		if err == nil {
			err = json.Unmarshal(raw, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read(a.Index, &d.index)
	for _, m := range d.index.Manifests {
		var manifest v1.Manifest
		read(m, &manifest)
		d.manifests = append(d.manifests, manifest)
	}
	read(d.manifests[len(d.manifests)-1].Config, &d.config)
	return d
}

// clone is a deep copy.
func (d documents) clone(t testing.TB) documents {
	c := documents{config: d.config, manifests: make([]v1.Manifest, len(d.manifests))}
	for i := range d.manifests {
		duplicate(t, d.manifests[i], &c.manifests[i])
	}
	duplicate(t, d.index, &c.index)
	return c
}

func duplicate(t testing.TB, from, to any) {
	raw, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// store writes the documents with digests that hold, except those that a change set.
func (d documents) store(t testing.TB) (memory, v1.Descriptor) {
	m := memory{}
	last := &d.manifests[len(d.manifests)-1]
	m.put(t, &last.Config, d.config)
	for i := range d.manifests {
		if i < len(d.index.Manifests) {
			m.put(t, &d.index.Manifests[i], d.manifests[i])
		}
	}
	desc := v1.Descriptor{MediaType: v1.MediaTypeImageIndex}
	m.put(t, &desc, d.index)
	return m, desc
}

// hostile are changes of an appliance of disks in three and more parts that no reader may take.
var hostile = map[string]func(d *documents){
	"name leads out":         func(d *documents) { d.index.Annotations[v1.AnnotationTitle] = "../saiga" },
	"version leads out":      func(d *documents) { d.index.Annotations[v1.AnnotationVersion] = "../1" },
	"no version":             func(d *documents) { delete(d.index.Annotations, v1.AnnotationVersion) },
	"no date":                func(d *documents) { delete(d.index.Annotations, v1.AnnotationCreated) },
	"odd date":               func(d *documents) { d.index.Annotations[v1.AnnotationCreated] = "2023-11-14T22:13:20.0Z" },
	"other lock":             func(d *documents) { d.index.Annotations[AnnotationLock] = strings.Repeat("0", 64) },
	"no manifests":           func(d *documents) { d.index.Manifests = nil },
	"one manifest":           func(d *documents) { d.index.Manifests = d.index.Manifests[:1] },
	"no rootfs":              func(d *documents) { d.index.Manifests, d.manifests = d.index.Manifests[1:], d.manifests[1:] },
	"no recipe":              func(d *documents) { d.index.Manifests, d.manifests = d.index.Manifests[:3], d.manifests[:3] },
	"index in the index":     func(d *documents) { d.index.Manifests[1].MediaType = v1.MediaTypeImageIndex },
	"many manifests":         func(d *documents) { d.index.Manifests = slices.Repeat(d.index.Manifests, 20) },
	"disk twice":             func(d *documents) { d.repeat(1) },
	"disk for containers":    func(d *documents) { d.index.Manifests[1].Platform = d.index.Manifests[0].Platform },
	"recipe for containers":  func(d *documents) { d.index.Manifests[3].Platform = nil },
	"rootfs for arm64":       func(d *documents) { d.index.Manifests[0].Platform.Architecture = "arm64" },
	"rootfs without config":  func(d *documents) { d.manifests[0].Config = v1.Descriptor{} },
	"rootfs without layers":  func(d *documents) { d.manifests[0].Layers = nil },
	"rootfs of many layers":  func(d *documents) { d.manifests[0].Layers = slices.Repeat(d.manifests[0].Layers, 70) },
	"plain rootfs layer":     func(d *documents) { d.manifests[0].Layers[0].MediaType = v1.MediaTypeImageLayer },
	"negative layer":         func(d *documents) { d.manifests[0].Layers[0].Size = -1 },
	"layer digest leads out": func(d *documents) { d.manifests[0].Layers[0].Digest = "sha256:../../../etc/passwd" },
	"layer of another digest": func(d *documents) {
		d.manifests[0].Layers[0].Digest = digest.Digest("sha512:" + strings.Repeat("0", 128))
	},
	"large layer":          func(d *documents) { d.manifests[0].Layers[0].Size = MaxBlob + 1 },
	"unknown format":       func(d *documents) { d.format("../x") },
	"other format":         func(d *documents) { d.format("vmdk") },
	"listed as another":    func(d *documents) { d.index.Manifests[1].ArtifactType = TypeDisk("vmdk") },
	"no kind of disk":      func(d *documents) { d.manifests[1].ArtifactType = "text/plain" },
	"title leads out":      func(d *documents) { d.manifests[1].Annotations[v1.AnnotationTitle] = "../../saiga-1.0.0.qcow2" },
	"part title leads out": func(d *documents) { d.part(0).Annotations[v1.AnnotationTitle] = "../saiga-1.0.0.qcow2.part-001" },
	"parts out of order":   func(d *documents) { l := d.manifests[1].Layers; l[0], l[1] = l[1], l[0] },
	"part missing":         func(d *documents) { d.manifests[1].Layers = d.manifests[1].Layers[:4] },
	"no parts":             func(d *documents) { d.manifests[1].Layers = nil },
	"empty part":           func(d *documents) { d.part(4).Size = 0 },
	"negative part":        func(d *documents) { d.part(4).Size = -100 },
	"small part inside":    func(d *documents) { d.part(1).Size = 99 },
	"large last part":      func(d *documents) { d.part(4).Size = 101 },
	"large parts": func(d *documents) {
		for i := range 5 {
			d.part(i).Size = MaxBlob + 1
		}
	},
	"part of another type":    func(d *documents) { d.part(2).MediaType = "text/plain" },
	"part digest leads out":   func(d *documents) { d.part(2).Digest = "sha256:/" },
	"many parts":              func(d *documents) { d.manifests[1].Layers = slices.Repeat(d.manifests[1].Layers, 200) },
	"no digest of the disk":   func(d *documents) { delete(d.manifests[1].Annotations, AnnotationDiskSHA256) },
	"size of the disk":        func(d *documents) { d.manifests[1].Annotations[AnnotationDiskSize] = "499" },
	"signed size of the disk": func(d *documents) { d.manifests[1].Annotations[AnnotationDiskSize] = "+500" },
	"config of the disk":      func(d *documents) { d.manifests[1].Config.Digest = digest.FromString("x") },
	"recipe of another type":  func(d *documents) { d.manifests[3].Layers[0].MediaType = "text/plain" },
	"recipe title leads out":  func(d *documents) { d.manifests[3].Layers[0].Annotations[v1.AnnotationTitle] = "/etc/recipe.yaml" },
	"recipe and lock":         func(d *documents) { slices.Reverse(d.manifests[3].Layers) },
	"no lock":                 func(d *documents) { d.manifests[3].Layers = d.manifests[3].Layers[:1] },
	"large lock":              func(d *documents) { d.manifests[3].Layers[1].Size = maxLock + 1 },
	"config of another type":  func(d *documents) { d.manifests[3].Config.MediaType = v1.MediaTypeImageConfig },
	"config: name":            func(d *documents) { d.config.Name = "other" },
	"config: version":         func(d *documents) { d.config.Version = "9.0.0" },
	"config: date":            func(d *documents) { d.config.Created = *Time(0) },
	"config: lock":            func(d *documents) { d.config.LockDigest = "" },
	"types mixed up":          func(d *documents) { d.manifests[0].MediaType = v1.MediaTypeImageIndex },
}

func (d *documents) repeat(i int) {
	d.index.Manifests = slices.Insert(d.index.Manifests, i, d.index.Manifests[i])
	d.manifests = slices.Insert(d.manifests, i, d.manifests[i])
}

func (d *documents) part(i int) *v1.Descriptor { return &d.manifests[1].Layers[i] }

// format gives the disk another format, all but its title.
func (d *documents) format(f string) {
	d.manifests[1].ArtifactType, d.index.Manifests[1].ArtifactType = TypeDisk(f), TypeDisk(f)
	for i := range d.manifests[1].Layers {
		d.part(i).MediaType = TypeDisk(f)
	}
}

func TestHostileAppliances(t *testing.T) {
	good := load(t, 100)
	m, desc := good.store(t)
	if _, err := ReadAppliance(t.Context(), m, desc); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for name, change := range hostile {
		d := good.clone(t)
		change(&d)
		m, desc := d.store(t)
		a, err := ReadAppliance(t.Context(), m, desc)
		if err == nil || a != nil {
			t.Errorf("%s: taken", name)
		} else if k := fault.KindOf(err); k != fault.Untrusted {
			t.Errorf("%s: kind %d: %v", name, k, err)
		}
	}
	whole := load(t, 0)
	single := whole.clone(t)
	single.manifests[1].Annotations[AnnotationDiskSHA256] = strings.Repeat("0", 64)
	m, desc = single.store(t)
	if _, err := ReadAppliance(t.Context(), m, desc); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("another digest of the only part: %v", err)
	}
	other := whole.clone(t)
	other.index.ArtifactType = "text/plain"
	m, desc = other.store(t)
	if _, err := ReadAppliance(t.Context(), m, desc); !errors.Is(err, ErrNoAppliance) {
		t.Errorf("something else: %v", err)
	}
	desc.Size = MaxManifest + 1
	if _, err := ReadAppliance(t.Context(), m, desc); err == nil {
		t.Error("a large index was read")
	}
	for d := range m { // no document may be missing, or differ by a bit
		for _, change := range []func(){func() { m[d][len(m[d])/2] ^= 1 }, func() { delete(m, d) }} {
			good := whole.clone(t)
			var desc v1.Descriptor
			m, desc = good.store(t)
			if m[d] == nil {
				continue
			}
			change()
			if _, err := ReadAppliance(t.Context(), m, desc); err == nil {
				t.Errorf("%s: a changed document was taken", d)
			}
		}
	}
}

// TestFlippedBytes flips each byte of each document of a baked folder: none is taken.
func TestFlippedBytes(t *testing.T) {
	dir := t.TempDir()
	_, made := appliance(t, dir, 0)
	l, a, err := OpenFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	docs := append([]v1.Descriptor{made.Index, a.RecipeConfig}, a.Manifests...)
	for _, d := range docs {
		path, _ := l.Path(d.Digest)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << (i % 8)
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, _, err := OpenFolder(t.Context(), dir); !errors.Is(err, ErrDigest) {
				t.Fatalf("%s, byte %d: %v", d.MediaType, i, err)
			}
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := OpenFolder(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

// TestOpenFolderFails names what is wrong with a folder.
func TestOpenFolderFails(t *testing.T) {
	if _, _, err := OpenFolder(t.Context(), t.TempDir()); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	dir := t.TempDir()
	if _, err := CreateLayout(filepath.Join(dir, "oci")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenFolder(t.Context(), dir); !errors.Is(err, ErrNoAppliance) {
		t.Error(err)
	}
	// A disk of parts that is a link to elsewhere is not followed.
	_, _ = appliance(t, dir, 100)
	file, away := filepath.Join(dir, "saiga-1.0.0.qcow2"), filepath.Join(t.TempDir(), "away")
	if err := errors.Join(os.Rename(file, away), os.Symlink(away, file)); err != nil {
		t.Fatal(err)
	}
	l, a, err := OpenFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	q, _ := a.Disk("qcow2")
	if have, _ := l.Has(t.Context(), q.Parts[0]); have {
		t.Error("a link was followed")
	}
}

// TestOddFiles refuses a layout in which a link or a pipe stands where a file should, and does not wait for the pipe.
func TestOddFiles(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
	} {
		for _, what := range []string{"blob", "index.json", "oci-layout"} {
			dir := t.TempDir()
			l, made := appliance(t, dir, 0)
			path := filepath.Join(dir, "oci", what)
			if what == "blob" {
				path, _ = l.Path(made.Index.Digest)
			}
			if err := errors.Join(os.Remove(path), replace(path)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := OpenFolder(t.Context(), dir); err == nil {
				t.Errorf("a %s as %s was read", name, what)
			}
		}
	}
}

func TestReferrer(t *testing.T) {
	l, made := appliance(t, t.TempDir(), 0)
	ctx := t.Context()
	if _, err := FindReferrer(ctx, l, made.Index.Digest, TypeSPDX); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	r := Referrer{Type: TypeSPDX, Title: "sbom.spdx.json", Data: []byte(`{"a":1}`), Annotations: map[string]string{"k": "v"}}
	put, err := PutReferrer(ctx, l, made.Index, r)
	if err != nil {
		t.Fatal(err)
	}
	d, err := FindReferrer(ctx, l, made.Index.Digest, TypeSPDX)
	if err != nil || d.Digest != put.Digest || d.Annotations["k"] != "v" {
		t.Fatalf("%+v, %v", d, err)
	}
	if data, err := ReadReferrer(ctx, l, d, made.Index.Digest, TypeSPDX, 100); string(data) != `{"a":1}` || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	for name, read := range map[string]func() ([]byte, error){
		"limit":   func() ([]byte, error) { return ReadReferrer(ctx, l, d, made.Index.Digest, TypeSPDX, 3) },
		"subject": func() ([]byte, error) { return ReadReferrer(ctx, l, d, made.Rootfs.Digest, TypeSPDX, 100) },
		"type":    func() ([]byte, error) { return ReadReferrer(ctx, l, d, made.Index.Digest, TypeInToto, 100) },
		"other":   func() ([]byte, error) { return ReadReferrer(ctx, l, made.Rootfs, made.Index.Digest, TypeSPDX, 100) },
	} {
		if _, err := read(); fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.Data = []byte(`{"a":2}`)
	if _, err := PutReferrer(ctx, l, made.Index, r); err != nil {
		t.Fatal(err)
	}
	if _, err := FindReferrer(ctx, l, made.Index.Digest, TypeSPDX); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("two of a kind: %v", err)
	}
}

// TestSummer compares cut files with digests of their pieces, whatever the steps of writing.
func TestSummer(t *testing.T) {
	small := bytes.Repeat([]byte("0123456789"), 35)
	large := bytes.Repeat(small, 3000) // parts worth a second core
	for _, c := range []struct {
		data        []byte
		limit, step int
	}{{small, 100, 1}, {small, 100, 7}, {small, 100, 100}, {small, 100, 1000}, {large, 300_000, 100_000}, {large, 300_001, 250_000}, {large, 300_000, 1 << 20}} {
		s := NewSummer(int64(c.limit))
		for in := range slices.Chunk(c.data, c.step) {
			s.Write(in)
		}
		got := s.Sums()
		want := Sums{Size: int64(len(c.data)), SHA256: digest.FromBytes(c.data).Encoded()}
		for p := range slices.Chunk(c.data, c.limit) {
			want.Parts = append(want.Parts, Part{int64(len(p)), digest.FromBytes(p).Encoded()})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d, step %d: %s", c.limit, c.step, diff)
		}
	}
}

// TestApplianceReferees lets skopeo and umoci find the rootfs in the index.
func TestApplianceReferees(t *testing.T) {
	referee.Need(t, "skopeo", "umoci")
	dir := t.TempDir()
	_, made := appliance(t, dir, 100)
	oci := filepath.Join(dir, "oci")
	for _, tag := range []string{"1.0.0", "1.0.0-rootfs"} {
		var got struct {
			Architecture, Os string
			Layers           []string
		}
		if err := json.Unmarshal([]byte(referee.Run(t, "skopeo", "inspect", "oci:"+oci+":"+tag)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Architecture != "amd64" || got.Os != "linux" || len(got.Layers) != 2 {
			t.Errorf("skopeo says of %s: %+v", tag, got)
		}
		to := filepath.Join(t.TempDir(), "copy")
		referee.Run(t, "skopeo", "--insecure-policy", "copy", "oci:"+oci+":"+tag, "dir:"+to)
		raw, err := os.ReadFile(filepath.Join(to, "manifest.json"))
		if err != nil || digest.FromBytes(raw) != made.Rootfs.Digest {
			t.Errorf("skopeo copied %s, %v", raw, err)
		}
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	args := []string{"unpack", "--image", oci + ":1.0.0-rootfs", bundle}
	if os.Getuid() != 0 {
		args = slices.Insert(args, 1, "--rootless")
	}
	referee.Run(t, "umoci", args...)
	for name, want := range map[string]string{"etc/a": "three", "usr/b": "two"} {
		if data, err := os.ReadFile(filepath.Join(bundle, "rootfs", name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

// FuzzAppliance lets rootfs, disk and recipe say anything, under descriptors that hold: what is taken is safe to use.
func FuzzAppliance(f *testing.F) {
	seeds := map[int64]documents{}
	for _, limit := range []int64{0, 100} {
		d := load(f, limit)
		seeds[limit] = d
		m, _ := d.store(f)
		f.Add(m[d.index.Manifests[0].Digest], m[d.index.Manifests[1].Digest], m[d.index.Manifests[3].Digest], TypeDisk("qcow2"), "1.0.0")
	}
	good := seeds[100]
	base, _ := good.store(f)
	f.Fuzz(func(t *testing.T, rootfs, disk, recipe []byte, kind, version string) {
		m := memory{good.manifests[3].Config.Digest: base[good.manifests[3].Config.Digest]}
		x := good.index
		x.Manifests = slices.Clone(good.index.Manifests)
		x.Annotations = maps.Clone(good.index.Annotations)
		x.Annotations[v1.AnnotationVersion] = version
		for i, raw := range map[int][]byte{0: rootfs, 1: disk, 2: base[good.index.Manifests[2].Digest], 3: recipe} {
			x.Manifests[i].Digest, x.Manifests[i].Size = digest.FromBytes(raw), int64(len(raw))
			m[x.Manifests[i].Digest] = raw
		}
		x.Manifests[1].ArtifactType = kind
		desc := v1.Descriptor{MediaType: v1.MediaTypeImageIndex}
		m.put(t, &desc, x)
		a, err := ReadAppliance(t.Context(), m, desc)
		if err != nil {
			if a != nil {
				t.Error("both a result and an error")
			}
			return
		}
		for _, d := range a.Disks {
			if filepath.Base(d.File) != d.File || !filepath.IsLocal(d.File) || d.Size <= 0 {
				t.Errorf("%+v", d)
			}
			for _, p := range d.Parts {
				if _, err := Hex(p.Digest); err != nil || p.Size <= 0 || p.Size > MaxBlob {
					t.Errorf("%+v", p)
				}
			}
		}
		if a.Config.Version != version || a.Lock.Size > maxLock || len(a.RootfsLayers) > maxLayers {
			t.Errorf("%+v", a)
		}
	})
}
