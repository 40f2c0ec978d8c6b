package resolve

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/referee"
)

// tarOf makes a layer of one file.
func tarOf(t *testing.T, file, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	w.Close()
	return b.Bytes()
}

func squeeze(t *testing.T, how types.MediaType, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch how {
	case types.OCILayer:
		w = gzip.NewWriter(&out)
	case types.OCILayerZStd:
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return b
	}
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// blobLayer is a layer with a known tar inside.
type blobLayer struct {
	v1.Layer
	diff v1.Hash
}

func (l blobLayer) DiffID() (v1.Hash, error) { return l.diff, nil }

// testImage has one layer of each compression.
func testImage(t *testing.T, arch string) v1.Image {
	t.Helper()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for i, how := range []types.MediaType{types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer} {
		raw := tarOf(t, "file"+string(rune('0'+i)), arch)
		l := blobLayer{static.NewLayer(squeeze(t, how, raw), how), v1.Hash{Algorithm: "sha256", Hex: hexSum(raw)}}
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: how}); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// twoArchitectures is an index as registries hold it.
func twoArchitectures(t *testing.T) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"arm64", "amd64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: testImage(t, arch),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return index
}

func digestOf(t *testing.T, i interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// pinImage resolves one container and fetches it.
func pinImage(t *testing.T, o Options, image recipe.Image) (lock.Container, error) {
	t.Helper()
	c := recipe.Container{Name: "model", Image: image}
	v := newResolver(o, &recipe.Recipe{Containers: []recipe.Container{c}}, nil)
	pinned, err := v.container(context.Background(), 0, c)
	if err != nil {
		return pinned, err
	}
	l := &lock.Lock{Containers: []lock.Container{pinned}}
	return pinned, Fetch(context.Background(), l, o, nil)
}

func checkImage(t *testing.T, o Options, c lock.Container, manifest, reference string) {
	t.Helper()
	if c.Manifest == nil || manifest != "" && c.Manifest.Digest != manifest || c.Reference != reference || len(c.Layers) != 3 {
		t.Fatalf("%+v, want manifest %s, reference %s", c, manifest, reference)
	}
	for i, want := range []types.MediaType{types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer} {
		if c.Layers[i].MediaType != string(want) && manifest != "" {
			t.Errorf("layer %d: %s", i, c.Layers[i].MediaType)
		}
	}
	for _, b := range append([]lock.Blob{*c.Manifest, *c.Config}, c.Layers...) {
		raw, err := os.ReadFile(o.Store.Path(b.Digest))
		if err != nil || "sha256:"+hexSum(raw) != b.Digest || int64(len(raw)) != b.Size {
			t.Errorf("blob %+v: %v", b, err)
		}
	}
}

func imageOptions(t *testing.T) Options {
	return Options{Store: testStore(t), BaseDir: t.TempDir(), pause: time.Millisecond}
}

func TestRegistryImage(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	ref, err := name.ParseReference(host + "/org/server:v1")
	if err != nil {
		t.Fatal(err)
	}
	index := twoArchitectures(t)
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	want := digestOf(t, testImage(t, "amd64"))
	o := imageOptions(t)
	c, err := pinImage(t, o, recipe.Image{Registry: host + "/org/server:v1"})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, o, c, want, host+"/org/server:v1")
	if c.Source != "registry:"+host+"/org/server" {
		t.Error(c.Source)
	}
	byDigest := host + "/org/server@" + digestOf(t, index)
	c, err = pinImage(t, o, recipe.Image{Registry: byDigest})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, o, c, want, host+"/org/server@"+want)
	fresh := imageOptions(t) // a store that has nothing, and the lock
	if err := Fetch(context.Background(), &lock.Lock{Containers: []lock.Container{c}}, fresh, nil); err != nil {
		t.Fatal(err)
	}
	checkImage(t, fresh, c, want, host+"/org/server@"+want)
	for image, text := range map[string]string{
		host + "/org/server:none":                                  "image",
		host + "/org/server@" + digestOf(t, testImage(t, "arm64")): "linux/arm64",
		"UPPER CASE": "could not parse",
	} {
		if _, err := pinImage(t, o, recipe.Image{Registry: image}); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", image, err)
		}
	}
	o.Offline = true
	if _, err := pinImage(t, o, recipe.Image{Registry: host + "/org/server:v1"}); !errors.Is(err, ErrOffline) {
		t.Error(err)
	}
}

func writeLayout(t *testing.T, dir string, index v1.ImageIndex) {
	t.Helper()
	if _, err := layout.Write(dir, index); err != nil {
		t.Fatal(err)
	}
}

func tag(img mutate.Appendable, name string) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Annotations: map[string]string{refName: name}}}
}

func TestLayoutImage(t *testing.T) {
	o := imageOptions(t)
	dir := filepath.Join(o.BaseDir, "img")
	amd, arm := testImage(t, "amd64"), testImage(t, "arm64")
	multi := tag(twoArchitectures(t), "ghcr.io/org/server:multi")
	writeLayout(t, dir, mutate.AppendManifests(empty.Index, tag(amd, "v1"), tag(amd, "also"), tag(arm, "v2"), multi))
	c, err := pinImage(t, o, recipe.Image{Layout: dir + ":v1"})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, o, c, digestOf(t, amd), "localhost/model:latest")
	if c.Source != "layout:img" {
		t.Error(c.Source)
	}
	if c, err = pinImage(t, o, recipe.Image{Layout: "img:also"}); err != nil || c.Manifest.Digest != digestOf(t, amd) {
		t.Errorf("the second tag of an image: %v", err)
	}
	c, err = pinImage(t, o, recipe.Image{Layout: "img:multi"})
	if err != nil || c.Manifest.Digest != digestOf(t, amd) || c.Reference != "ghcr.io/org/server:multi" {
		t.Errorf("an index of two: %+v, %v", c, err)
	}
	for image, text := range map[string]string{
		"img:v2": "linux/arm64", "img:v3": "no image with the tag", "none": "index.json",
	} {
		if _, err := pinImage(t, o, recipe.Image{Layout: image}); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", image, err)
		}
	}
	fresh := imageOptions(t)
	fresh.BaseDir = o.BaseDir
	file := layoutBlob(dir, c.Layers[2].Digest)
	raw, _ := os.ReadFile(file)
	raw[600]++
	os.WriteFile(file, raw, 0o644)
	if err := Fetch(context.Background(), &lock.Lock{Containers: []lock.Container{c}}, fresh, nil); fault.KindOf(err) != fault.Untrusted || !errors.Is(err, ErrChanged) {
		t.Errorf("a changed layer: %v", err)
	}
	if _, err := pinImage(t, fresh, recipe.Image{Layout: "img:v1"}); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("a changed layer: %v", err)
	}
	file = layoutBlob(dir, c.Config.Digest)
	os.WriteFile(file, []byte("{}"), 0o644)
	if _, err := pinImage(t, fresh, recipe.Image{Layout: "img:v1"}); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("a changed config: %v", err)
	}
}

// TestHostileManifest: what a manifest says of its blobs is no reason to fetch without an end.
func TestHostileManifest(t *testing.T) {
	good := v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, Size: 9}
	endless, other := good, good
	endless.Size, other.Digest = -1, v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("a", 128)}
	for _, m := range []v1.Manifest{{Config: endless}, {Config: other}, {Config: good, Layers: []v1.Descriptor{endless}}} {
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		fetched := 0
		_, err = pinManifest(context.Background(), v1.Descriptor{}, func(context.Context, v1.Descriptor) ([]byte, error) {
			fetched++
			return raw, nil
		})
		if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "malformed") || fetched != 1 {
			t.Errorf("%s: %d documents fetched, %v", raw, fetched, err)
		}
	}
}

// saveArchive writes what docker save writes.
func saveArchive(t *testing.T, file, arch string) {
	t.Helper()
	ref, err := name.NewTag("ghcr.io/org/server:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, ref, testImage(t, arch)); err != nil {
		t.Fatal(err)
	}
}

func TestSavedImage(t *testing.T) {
	o := imageOptions(t)
	saveArchive(t, o.BaseDir+"/i.tar", "amd64")
	c, err := pinImage(t, o, recipe.Image{Archive: "i.tar"})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, o, c, "", "ghcr.io/org/server:v1")
	raw, err := os.ReadFile(o.BaseDir + "/i.tar")
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(o.BaseDir+"/i.tar.gz", squeeze(t, types.OCILayer, raw), 0o644)
	if again, err := pinImage(t, imageOptions(t), recipe.Image{Archive: o.BaseDir + "/i.tar.gz"}); err != nil || *again.Manifest != *c.Manifest {
		t.Errorf("compressed: %v", err)
	}
	fresh := imageOptions(t)
	fresh.BaseDir = o.BaseDir
	l := &lock.Lock{Containers: []lock.Container{c}}
	if err := Fetch(context.Background(), l, fresh, nil); err != nil {
		t.Fatal(err)
	}
	checkImage(t, fresh, c, "", "ghcr.io/org/server:v1")
	saveArchive(t, o.BaseDir+"/arm.tar", "arm64")
	os.WriteFile(o.BaseDir+"/text.tar", []byte("no tar at all"), 0o644)
	os.WriteFile(o.BaseDir+"/cut.tar", raw[:len(raw)/2], 0o644)
	os.WriteFile(o.BaseDir+"/other.tar", tarOf(t, "x", "y"), 0o644)
	for file, text := range map[string]string{"arm.tar": "linux/arm64", "text.tar": "tar", "cut.tar": "tar", "other.tar": "neither"} {
		if _, err := pinImage(t, o, recipe.Image{Archive: file}); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestOlderSave reads links in place of repeated layers, and refuses a layer that is not the config's.
func TestOlderSave(t *testing.T) {
	raw := tarOf(t, "f", "x")
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hexSum(raw), "sha256:" + hexSum(raw)}}})
	if err != nil {
		t.Fatal(err)
	}
	write := func(file string, layer []byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		put := func(name string, data []byte) {
			w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
			w.Write(data)
		}
		put("c.json", config)
		put("a/layer.tar", layer)
		w.WriteHeader(&tar.Header{Name: "b/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"})
		put("manifest.json", []byte(`[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]`))
		w.Close()
		os.WriteFile(file, b.Bytes(), 0o644)
	}
	o := imageOptions(t)
	write(o.BaseDir+"/i.tar", raw)
	c, err := pinImage(t, o, recipe.Image{Archive: "i.tar"})
	if err != nil || len(c.Layers) != 2 || c.Layers[1].Digest != "sha256:"+hexSum(raw) || c.Reference != "localhost/model:latest" {
		t.Errorf("%+v %v", c, err)
	}
	write(o.BaseDir+"/bad.tar", tarOf(t, "f", "evil"))
	if _, err := pinImage(t, o, recipe.Image{Archive: "bad.tar"}); fault.KindOf(err) != fault.Untrusted {
		t.Error(err)
	}
}

// TestSkopeoArchives reads what another tool writes: a docker archive and an OCI archive.
func TestSkopeoArchives(t *testing.T) {
	referee.Need(t, "skopeo")
	o := imageOptions(t)
	dir := filepath.Join(o.BaseDir, "img")
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	config, _ := testImage(t, "amd64").ConfigFile()
	for i := range 3 {
		raw := tarOf(t, "file"+string(rune('0'+i)), "amd64")
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: blobLayer{static.NewLayer(squeeze(t, types.OCILayer, raw), types.OCILayer), config.RootFS.DiffIDs[i]}, MediaType: types.OCILayer}); err != nil {
			t.Fatal(err)
		}
	}
	img, err := mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	writeLayout(t, dir, mutate.AppendManifests(empty.Index, tag(img, "v1")))
	for kind, reference := range map[string]string{"docker-archive": "docker.io/library/greeter:v2", "oci-archive": "docker.io/library/greeter:v2"} {
		file := filepath.Join(o.BaseDir, kind+".tar")
		out, err := exec.Command("skopeo", "--insecure-policy", "copy", "oci:"+dir+":v1", kind+":"+file+":docker.io/library/greeter:v2").CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo: %v %s", err, out)
		}
		c, err := pinImage(t, o, recipe.Image{Archive: file})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		checkImage(t, o, c, "", reference)
	}
}

// TestOCIModel takes weights from an artifact.
func TestOCIModel(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	weights := static.NewLayer([]byte("weights"), "application/vnd.cncf.model.weight.v1.raw")
	readme := static.NewLayer([]byte("readme"), "application/vnd.cncf.model.doc.v1.raw")
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		mutate.Addendum{Layer: readme, Annotations: map[string]string{filepathKey: "README"}},
		mutate.Addendum{Layer: weights, Annotations: map[string]string{filepathKey: "dir/m.gguf"}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/org/m:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	o := imageOptions(t)
	writeLayout(t, filepath.Join(o.BaseDir, "lay"), mutate.AppendManifests(empty.Index, tag(img, "v1")))
	for source, want := range map[string]string{"oci://" + host + "/org/m:1": "oci://" + host + "/org/m", "oci:lay:v1": "oci:lay"} {
		m := recipe.Model{Name: "m", File: "m.gguf", Source: source}
		v := newResolver(o, &recipe.Recipe{Models: []recipe.Model{m}}, nil)
		f, err := v.model(context.Background(), 0, m)
		if err != nil || f.Source != want || f.SHA256 != hexSum([]byte("weights")) || f.Size != 7 {
			t.Errorf("%s: %+v %v", source, f, err)
			continue
		}
		fresh := imageOptions(t)
		fresh.BaseDir = o.BaseDir
		if err := Fetch(context.Background(), &lock.Lock{Models: []lock.File{f}}, fresh, nil); err != nil || !fresh.Store.Has(f.SHA256, 7) {
			t.Errorf("%s: %v", source, err)
		}
		m.SHA256 = strings.Repeat("0", 64)
		if _, err := v.model(context.Background(), 0, m); fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s: wrong digest: %v", source, err)
		}
	}
}
