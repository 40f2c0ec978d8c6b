package preload

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/tree"
)

const epoch = 1700000000

// tarOf makes a layer's tar from lines: "d NAME", "f NAME CONTENT", "l NAME TARGET" (symlink), "h NAME TARGET"
// (hard link), with an optional leading "MODE:UID ".
func tarOf(t testing.TB, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, line := range lines {
		h := tar.Header{Mode: 0o644}
		if first, rest, _ := strings.Cut(line, " "); strings.Contains(first, ":") {
			fmt.Sscanf(first, "%o:%d", &h.Mode, &h.Uid)
			line = rest
		}
		part := strings.SplitN(line+"  ", " ", 3)
		h.Name = part[1]
		arg := strings.TrimSpace(part[2])
		body := ""
		switch part[0] {
		case "d":
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", h.Mode|0o111
		case "f":
			h.Typeflag, body = tar.TypeReg, arg
		case "l":
			h.Typeflag, h.Linkname = tar.TypeSymlink, arg
		case "h":
			h.Typeflag, h.Linkname = tar.TypeLink, arg
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
	}
	w.Close()
	return b.Bytes()
}

// makeImage makes an image of gzip layers in a folder of the test.
func makeImage(t testing.TB, reference string, layers ...[]byte) Image {
	t.Helper()
	dir := t.TempDir()
	config := v1.Image{
		Created: artifact.Time(epoch), Platform: v1.Platform{Architecture: "amd64", OS: "linux"},
		Config: v1.ImageConfig{Entrypoint: []string{"/bin/sh"}}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	im := Image{Reference: reference}
	for i, data := range layers {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(data)
		z.Close()
		l := Layer{
			Digest: string(digest.FromBytes(b.Bytes())), MediaType: v1.MediaTypeImageLayerGzip, Size: int64(b.Len()),
			Path: filepath.Join(dir, fmt.Sprint(i, ".gz")), DiffID: string(digest.FromBytes(data)), Tar: filepath.Join(dir, fmt.Sprint(i, ".tar")),
		}
		if err := os.WriteFile(l.Path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(context.Background(), l, l.Tar); err != nil {
			t.Fatal(err)
		}
		im.Layers = append(im.Layers, l)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.DiffID))
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.Size})
	}
	var err error
	if im.Config, manifest.Config, err = artifact.Encode(v1.MediaTypeImageConfig, config); err != nil {
		t.Fatal(err)
	}
	if im.Manifest, _, err = artifact.Encode(v1.MediaTypeImageManifest, manifest); err != nil {
		t.Fatal(err)
	}
	return im
}

func place(t testing.TB, images ...Image) *Store {
	t.Helper()
	s, err := Place(context.Background(), images, Options{Epoch: epoch}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// upper returns the entries of snapshot id as text.
func upper(s *Store, id int) map[string]string {
	prefix := fmt.Sprintf("%s/snapshots/%d/fs", overlayDir, id)
	m := map[string]string{}
	for _, e := range s.Tree.Entries() {
		name, ok := strings.CutPrefix(e.Path, prefix)
		if !ok || name != "" && name[0] != '/' {
			continue
		}
		text := ""
		switch e.Type {
		case tree.Dir:
			text = fmt.Sprintf("dir %o:%d", e.Mode, e.UID)
			if isOpaque(e) {
				text += " opaque"
			}
		case tree.File:
			data, _ := s.Tree.ReadFile(e.Path)
			text = "file " + string(data)
		case tree.Symlink:
			text = "-> " + e.Link
		case tree.Hardlink:
			text = "= " + strings.TrimPrefix(e.Link, prefix)
		case tree.Char:
			text = "whiteout"
		}
		m[name] = text
	}
	return m
}

func TestApply(t *testing.T) {
	for _, c := range []struct {
		name  string
		lower []string
		upper []string
		want  map[string]string
	}{
		{"whiteout", []string{"f a 1"}, []string{"f .wh.a"}, map[string]string{"": "dir 755:0", "/a": "whiteout"}},
		{"whiteout of nothing", []string{"f a 1"}, []string{"f .wh.b", "f x/.wh.y"}, map[string]string{"": "dir 755:0", "/x": "dir 755:0"}},
		{"opaque", []string{"0700:7 d d", "f d/a 1"}, []string{"f d/.wh..wh..opq", "f d/b 2"},
			map[string]string{"": "dir 755:0", "/d": "dir 711:7 opaque", "/d/b": "file 2"}},
		{"opaque over nothing", nil, []string{"d d", "f d/.wh..wh..opq"}, map[string]string{"": "dir 755:0", "/d": "dir 755:0"}},
		{"opaque root", []string{"f a 1", "f d/x 1", "f e 1"}, []string{"f .wh..wh..opq", "f d/y 2", "f e 2"},
			map[string]string{"": "dir 755:0", "/a": "whiteout", "/d": "dir 755:0 opaque", "/d/y": "file 2", "/e": "file 2"}},
		{"whiteout and new folder", []string{"f d/a 1"}, []string{"f .wh.d", "d d", "f d/b 2"},
			map[string]string{"": "dir 755:0", "/d": "dir 755:0 opaque", "/d/b": "file 2"}},
		{"whiteout and new file", []string{"f d/a 1"}, []string{"f d 2", "f .wh.d"}, map[string]string{"": "dir 755:0", "/d": "file 2"}},
		{"implied folder", []string{"0750:5 d d"}, []string{"f d/a 1"}, map[string]string{"": "dir 755:0", "/d": "dir 751:5", "/d/a": "file 1"}},
		{"through a lower link", []string{"0711:3 d usr/lib", "l lib usr/lib"}, []string{"f lib/a 1", "f lib/.wh.b"},
			map[string]string{"": "dir 755:0", "/usr": "dir 755:0", "/usr/lib": "dir 711:3", "/usr/lib/a": "file 1"}},
		{"folder over a lower link", []string{"d usr/lib", "l lib usr/lib"}, []string{"0755:0 d lib", "f lib/a 1"},
			map[string]string{"": "dir 755:0", "/lib": "dir 755:0", "/lib/a": "file 1"}},
		{"hard link", nil, []string{"f b 1", "h a b"}, map[string]string{"": "dir 755:0", "/a": "file 1", "/b": "= /a"}},
		{"hard link to a lower layer", []string{"d d", "f d/b 1"}, []string{"h a d/b"},
			map[string]string{"": "dir 755:0", "/a": "file 1", "/d": "dir 755:0", "/d/b": "= /a"}},
		{"hard links to a lower file that goes", []string{"f b 1"}, []string{"h a b", "h c b", "f .wh.b"},
			map[string]string{"": "dir 755:0", "/a": "file 1", "/b": "whiteout", "/c": "= /a"}},
		{"hard link out of an opaque folder", []string{"f d/b 1"}, []string{"h a d/b", "f d/.wh..wh..opq"},
			map[string]string{"": "dir 755:0", "/a": "file 1", "/d": "dir 755:0 opaque"}},
		{"hard link among aufs things", nil, []string{"f .wh..wh.plnk/1.2 1", "h a .wh..wh.plnk/1.2", "h b .wh..wh.plnk/1.2"},
			map[string]string{"": "dir 755:0", "/a": "file 1", "/b": "= /a"}},
		{"root attributes", []string{"0700:9 d ."}, []string{"f a 1"}, map[string]string{"": "dir 711:9", "/a": "file 1"}},
	} {
		layers, id := [][]byte{tarOf(t, c.upper...)}, 1
		if c.lower != nil {
			layers, id = [][]byte{tarOf(t, c.lower...), tarOf(t, c.upper...)}, 2
		}
		s := place(t, makeImage(t, "x", layers...))
		if diff := cmp.Diff(c.want, upper(s, id)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestApplyThreeLayers(t *testing.T) {
	s := place(t, makeImage(t, "x", tarOf(t, "f d/a 1", "f d/b 1"), tarOf(t, "f .wh.d"), tarOf(t, "f d/.wh.a", "f d/c 3")))
	want := map[string]string{"": "dir 755:0", "/d": "dir 755:0", "/d/c": "file 3"}
	if diff := cmp.Diff(want, upper(s, 3)); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedLayers(t *testing.T) {
	for name, lines := range map[string][]string{
		"dangling hard link": {"h a gone"},
		"hard link to self":  {"h a a"},
		"bare whiteout":      {"f d/.wh."},
		"dot whiteout":       {"f d/.wh.."},
	} {
		_, err := Place(context.Background(), []Image{makeImage(t, "x", tarOf(t, "d d"), tarOf(t, lines...))}, Options{}, nil)
		if fault.KindOf(err) != fault.Input {
			t.Errorf("%s: error %v", name, err)
		}
	}
	loop := makeImage(t, "x", tarOf(t, "l a b", "l b a"), tarOf(t, "f a/x 1"))
	if _, err := Place(context.Background(), []Image{loop}, Options{}, nil); err == nil {
		t.Error("link loop: no error")
	}
}

// A foreign layer cannot speak to overlayfs through attributes.
func TestOverlayAttributesAreDropped(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.keep": "1"}})
	w.Close()
	s := place(t, makeImage(t, "x", b.Bytes()))
	e := s.Tree.Lookup(overlayDir + "/snapshots/1/fs/d")
	if diff := cmp.Diff(map[string]string{"user.keep": "1"}, e.Xattrs); diff != "" {
		t.Error(diff)
	}
}

func TestBadImages(t *testing.T) {
	good := func() Image { return makeImage(t, "x", tarOf(t, "f a 1")) }
	for name, change := range map[string]func(*Image){
		"manifest":     func(im *Image) { im.Manifest = []byte("{") },
		"index":        func(im *Image) { im.ManifestType = v1.MediaTypeImageIndex },
		"config":       func(im *Image) { im.Config = append(im.Config, ' ') },
		"layer count":  func(im *Image) { im.Layers = nil },
		"layer digest": func(im *Image) { im.Layers[0].Digest = im.Layers[0].DiffID },
		"diff id":      func(im *Image) { im.Layers[0].DiffID = im.Layers[0].Digest },
		"reference":    func(im *Image) { im.Reference = "a b" },
		"wrong digest": func(im *Image) { im.Reference = "x@" + im.Layers[0].Digest },
	} {
		im := good()
		change(&im)
		if _, err := Place(context.Background(), []Image{im}, Options{}, nil); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Place(context.Background(), []Image{good()}, Options{Architecture: "arm64"}, nil); fault.KindOf(err) != fault.Input {
		t.Errorf("architecture: error %v", err)
	}
	other := makeImage(t, "x", tarOf(t, "f b 2"))
	if _, err := Place(context.Background(), []Image{good(), other}, Options{}, nil); err == nil {
		t.Error("one name for two images: no error")
	}
}

// changing is a blob that changes while it is read.
type changing struct{ *os.File }

func (c changing) Close() error {
	c.File.Close()
	return errors.New("changed while it was read")
}

func TestChangingBlob(t *testing.T) {
	im := makeImage(t, "x", tarOf(t, "f a 1"))
	l := &im.Layers[0]
	l.Open = func() (io.ReadCloser, error) {
		f, err := os.Open(l.Path)
		return changing{f}, err
	}
	if _, err := Unpack(context.Background(), *l, filepath.Join(t.TempDir(), "out")); err == nil {
		t.Error("unpacked")
	}
	if _, err := layer.Write(context.Background(), io.Discard, place(t, im).Tree); err == nil {
		t.Error("placed")
	}
}

func TestUnpackVerifies(t *testing.T) {
	im := makeImage(t, "x", tarOf(t, "f a 1"))
	for name, change := range map[string]func(*Layer){
		"digest":  func(l *Layer) { l.Digest = l.DiffID },
		"diff id": func(l *Layer) { l.DiffID = l.Digest },
		"size":    func(l *Layer) { l.Size++ },
		"trailer": func(l *Layer) {
			f, _ := os.OpenFile(l.Path, os.O_APPEND|os.O_WRONLY, 0)
			f.Write(make([]byte, 512))
			f.Close()
		},
	} {
		l := im.Layers[0]
		change(&l)
		out := filepath.Join(t.TempDir(), "out")
		if _, err := Unpack(context.Background(), l, out); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: left a file", name)
		}
	}
}

func TestName(t *testing.T) {
	d := digest.FromBytes(nil)
	for in, want := range map[string]string{
		"model":                        "docker.io/library/model:latest",
		"org/model:1":                  "docker.io/org/model:1",
		"docker.io/model:1":            "docker.io/library/model:1",
		"index.docker.io/model":        "docker.io/library/model:latest",
		"localhost/m":                  "localhost/m:latest",
		"localhost:5000/a/b:v1":        "localhost:5000/a/b:v1",
		"ghcr.io/o/s@" + string(d):     "ghcr.io/o/s@" + string(d),
		"ghcr.io/o/s:1.0@" + string(d): "ghcr.io/o/s@" + string(d),
	} {
		if got, err := Name(in, d); got != want || err != nil {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "A", "a//b", "a/", "/a", "a:", "a: b", "a@sha256:0", "../a", "a:b:c", "a\x00"} {
		if got, err := Name(in, d); err == nil {
			t.Errorf("%q became %s", in, got)
		}
	}
}

func sum(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	h := sha256.New()
	if _, err := layer.Write(context.Background(), h, tr); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// manyImages share their first layer and have enough blobs for several bolt pages.
func manyImages(t testing.TB) []Image {
	base := tarOf(t, "d etc", "f etc/base 1")
	var images []Image
	for i := range 12 {
		images = append(images, makeImage(t, fmt.Sprintf("registry.example/org/app-%d:v1", i), base, tarOf(t, fmt.Sprintf("f app %d", i)), tarOf(t, "f .wh.app")))
	}
	return images
}

func TestDeterministic(t *testing.T) {
	first := sum(t, place(t, manyImages(t)...).Tree)
	for range 5 {
		if again := sum(t, place(t, manyImages(t)...).Tree); again != first {
			t.Fatal("the same images gave other bytes")
		}
	}
}

func TestShared(t *testing.T) {
	s := place(t, manyImages(t)...)
	blobs, snapshots := 0, 0
	for _, e := range s.Tree.Entries() {
		if strings.HasPrefix(e.Path, blobDir+"/") {
			blobs++
		}
		if strings.HasPrefix(e.Path, overlayDir+"/snapshots/") && strings.HasSuffix(e.Path, "/fs") {
			snapshots++
		}
	}
	if wantBlobs, wantSnapshots := 1+12+1+2*12, 1+12+12; blobs != wantBlobs || snapshots != wantSnapshots {
		t.Errorf("%d blobs and %d snapshots, want %d and %d", blobs, snapshots, wantBlobs, wantSnapshots)
	}
	for _, name := range []string{metaDir + "/meta.db", overlayDir + "/metadata.db"} {
		data, err := s.Tree.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	tarFile := filepath.Join(dir, "rootfs.tar")
	if err := os.WriteFile(tarFile, tarOf(t, "d bin", "f bin/server "+strings.Repeat("x", 100000)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := ImageConfig{Entrypoint: []string{"/bin/server"}, Env: []string{"A=1"}, User: "1000"}
	var images []Image
	for _, name := range []string{"a", "b"} {
		out := filepath.Join(dir, name)
		os.Mkdir(out, 0o700)
		im, err := Pack(context.Background(), tarFile, cfg, "model:1", epoch, out)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, im)
	}
	if !bytes.Equal(images[0].Manifest, images[1].Manifest) || images[0].Layers[0].Digest != images[1].Layers[0].Digest {
		t.Error("two packs differ")
	}
	var c v1.Image
	if err := json.Unmarshal(images[0].Config, &c); err != nil || c.Config.Entrypoint[0] != "/bin/server" || !c.Created.Equal(*artifact.Time(epoch)) {
		t.Errorf("config %s, %v", images[0].Config, err)
	}
	if _, err := Unpack(context.Background(), images[0].Layers[0], filepath.Join(dir, "again.tar")); err != nil {
		t.Error(err)
	}
	s := place(t, images[0])
	if got := upper(s, 1)["/bin/server"]; len(got) != len("file ")+100000 {
		t.Errorf("placed %d bytes", len(got))
	}
}

func TestNoImages(t *testing.T) {
	if s := place(t); s.Tree.Len() != 1 {
		t.Errorf("%d entries", s.Tree.Len())
	}
}
