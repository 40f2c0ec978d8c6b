package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

const epoch = 1700000000

func layerFile(t testing.TB, name, content string) LayerFile {
	t.Helper()
	tr := tree.New()
	if err := tr.WriteFile(name, []byte(content), 0o640, epoch); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := layer.Write(context.Background(), f, tr)
	if err != nil {
		t.Fatal(err)
	}
	return LayerFile{Path: file, DiffID: id, Comment: name}
}

func sample(t testing.TB) ImageSpec {
	return ImageSpec{
		Name: "saiga", Version: "1.0.0", Created: epoch, Config: v1.ImageConfig{Entrypoint: []string{"/sbin/init"}, Env: []string{"A=1"}},
		Layers:      []LayerFile{layerFile(t, "etc/a", "one"), layerFile(t, "usr/share/b", "two"), layerFile(t, "etc/a", "three")},
		Annotations: map[string]string{"org.example.z": "1", "org.example.a": "2"},
	}
}

// files returns every file below dir with the digest of its content.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		m[rel] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// newLayout is an empty layout.
func newLayout(t testing.TB) (*Layout, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "oci")
	l, err := CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l, dir
}

func TestWriteImage(t *testing.T) {
	spec := sample(t)
	l, dir := newLayout(t)
	d, err := l.WriteImage(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	all := files(t, dir)
	blobs := 0
	for name, sum := range all {
		if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			blobs++
			if hex != sum {
				t.Errorf("blob %s has digest %s", hex, sum)
			}
		}
	}
	if blobs != 5 || len(all) != 7 {
		t.Errorf("files %v", all)
	}
	a, _ := os.Stat(spec.Layers[0].Path)
	hex, _ := Hex(digest.Digest(spec.Layers[0].DiffID))
	b, _ := os.Stat(filepath.Join(dir, "blobs", "sha256", hex))
	if !os.SameFile(a, b) {
		t.Error("the layer was copied, not linked")
	}
	l, again := newLayout(t)
	d2, err := l.WriteImage(t.Context(), sample(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, files(t, again)); diff != "" || d.Digest != d2.Digest {
		t.Errorf("the same image differs: %s", diff)
	}
}

// All or nothing: a failure leaves no image, and nothing half-made.
func TestWriteImageFails(t *testing.T) {
	for name, change := range map[string]func(*ImageSpec){
		"missing layer": func(s *ImageSpec) { s.Layers[1].Path += ".gone" },
		"bad diff ID":   func(s *ImageSpec) { s.Layers[1].DiffID = "sha256:../../x" },
		"bad digest":    func(s *ImageSpec) { s.Layers[1].Digest = "sha256:../../x" },
		"wrong size":    func(s *ImageSpec) { s.Layers[1].Size = 1 },
	} {
		spec := sample(t)
		change(&spec)
		l, dir := newLayout(t)
		if _, err := l.WriteImage(t.Context(), spec); err == nil {
			t.Errorf("%s: no error", name)
		}
		for file := range files(t, dir) {
			if strings.Contains(file, "partial") {
				t.Errorf("%s: left %s", name, file)
			}
		}
	}
}

func TestCopy(t *testing.T) {
	l := layerFile(t, "a", "content")
	to := filepath.Join(t.TempDir(), "copy")
	if err := copyFile(context.Background(), l.Path, to); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(l.Path)
	b, _ := os.ReadFile(to)
	if !bytes.Equal(a, b) || len(b) == 0 {
		t.Errorf("%d bytes became %d", len(a), len(b))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	shm, err := os.MkdirTemp("/dev/shm", "agibake-test-") // usually another file system
	if err != nil {
		t.Skip("SKIPPED: no /dev/shm")
	}
	other := filepath.Join(shm, "copy")
	defer os.RemoveAll(shm)
	if err := link(context.Background(), l.Path, other); err != nil {
		t.Error(err)
	}
	if err := copyFile(ctx, l.Path, to+"2"); err == nil {
		if err := exec.Command("cmp", to, to+"2").Run(); err != nil { // cloned at once
			t.Error("cancelled copy: no error and no copy")
		}
	}
}

func TestHex(t *testing.T) {
	good := digest.FromBytes([]byte("x"))
	if hex, err := Hex(good); err != nil || len(hex) != 64 {
		t.Errorf("%s: %v", hex, err)
	}
	for _, bad := range []digest.Digest{"", "sha256:", "sha512:" + good[7:], digest.Digest(strings.ToUpper(string(good))), good + "0", "sha256:" + digest.Digest(strings.Repeat("/", 64)),
		"sha512:" + digest.Digest(strings.Repeat("0", 128))} {
		if hex, err := Hex(bad); err == nil {
			t.Errorf("%q became %s", bad, hex)
		}
	}
}

// TestReferees lets skopeo and umoci read the layout.
func TestReferees(t *testing.T) {
	referee.Need(t, "skopeo", "umoci")
	l, dir := newLayout(t)
	d, err := l.WriteImage(t.Context(), sample(t))
	if err == nil {
		err = l.list(t.Context(), d, "1.0.0")
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, stderr.String())
		}
		return out
	}
	var got struct {
		Digest, Created, Architecture, Os string
		Layers                            []string
	}
	if err := json.Unmarshal(run("skopeo", "inspect", "oci:"+dir+":1.0.0"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Digest != string(d.Digest) || got.Created != Time(epoch).Format(time.RFC3339) || got.Architecture != "amd64" || got.Os != "linux" || len(got.Layers) != 3 {
		t.Errorf("skopeo says %+v", got)
	}
	to := t.TempDir() + "/copy"
	run("skopeo", "--insecure-policy", "copy", "oci:"+dir+":1.0.0", "dir:"+to)
	bundle := filepath.Join(t.TempDir(), "bundle")
	args := []string{"unpack", "--image", dir + ":1.0.0", bundle}
	if os.Getuid() != 0 {
		args = append([]string{"unpack", "--rootless"}, args[1:]...)
	}
	run("umoci", args...)
	for name, want := range map[string]string{"etc/a": "three", "usr/share/b": "two"} {
		data, err := os.ReadFile(filepath.Join(bundle, "rootfs", name))
		if err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}
