package main

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/agibake/agibake/internal/vm"
	"github.com/agibake/agibake/internal/wire"
)

// samples is one container image in every form that a recipe takes. Its program lists the files that it sees.
type samples struct {
	dir      string // holds layout/ (tags v1 and latest, arm for another architecture), saved.tar and arm.tar
	registry *httptest.Server
	pulled   string // reference by the digest of an index of two architectures
	arm      string // reference of an image for another architecture alone
}

// names of the containers that are made of the samples.
var sampled = []string{"layers", "saved", "remote"}

func newSamples(t *testing.T, dir string) *samples {
	s := &samples{dir: dir, registry: httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	t.Cleanup(s.registry.Close)
	tars := sampleLayers(t)
	amd, arm := sampleImage(t, "amd64", compression.GZip, tars), sampleImage(t, "arm64", compression.GZip, tars[:1])
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, tagged := range []struct {
		tag   string
		image v1.Image
	}{{"v1", amd}, {"latest", amd}, {"arm", arm}} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: tagged.image,
			Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": tagged.tag}}})
	}
	fatal(t, os.MkdirAll(dir, 0o755))
	_, err := layout.Write(dir+"/layout", index)
	fatal(t, err)
	for file, image := range map[string]v1.Image{"saved": amd, "arm": arm} {
		ref, err := name.NewTag("sample.example/org/" + file + ":1.0")
		fatal(t, err)
		fatal(t, tarball.WriteToFile(dir+"/"+file+".tar", ref, image))
	}
	s.push(t, sampleImage(t, "amd64", compression.ZStd, tars), arm)
	return s
}

// push fills the registry.
func (s *samples) push(t *testing.T, amd, arm v1.Image) {
	repo, err := name.NewRepository(strings.TrimPrefix(s.registry.URL, "http://") + "/org/sample")
	fatal(t, err)
	both := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for arch, image := range map[string]v1.Image{"amd64": amd, "arm64": arm} {
		both = mutate.AppendManifests(both, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	digest, err := both.Digest()
	fatal(t, err)
	fatal(t, remote.WriteIndex(repo.Tag("1.0"), both))
	fatal(t, remote.Write(repo.Tag("arm"), arm))
	s.pulled, s.arm = repo.Name()+"@"+digest.String(), repo.Name()+":arm"
}

// containers is the part of a recipe beside dir that runs every sample.
func (s *samples) containers() string {
	dir := filepath.Base(s.dir)
	return fmt.Sprintf("containers:\n"+
		"  - {name: layers, image: {layout: %q}, env: {GREETING: \"baked, $1\"}}\n"+
		"  - {name: saved, image: {archive: %q}}\n"+
		"  - {name: remote, image: {registry: %q}}\n", dir+"/layout:latest", dir+"/saved.tar", s.pulled)
}

// wantTree is what another tool says the samples hold, one line for each file.
func (s *samples) wantTree(t *testing.T) []string {
	bundle := filepath.Join(t.TempDir(), "bundle")
	must(t, "umoci", "unpack", "--image", s.dir+"/layout:v1", bundle)
	return listing(t, must(t, bundle+"/rootfs/bin/lister", bundle+"/rootfs"))
}

// listing returns the lines of the lister's last run.
func listing(t *testing.T, out string) []string {
	t.Helper()
	_, out, begun := cutLast(out, "begin\n")
	out, _, ended := strings.Cut(out, "end\n")
	if !begun || !ended {
		t.Fatalf("the lister says %q", out)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// refused requires that a registry's image for another architecture is a fault of the recipe.
func (h *host) refused(t *testing.T) {
	path := filepath.Join(h.dir, "other.yaml")
	text := fmt.Sprintf("apiVersion: agibake/v1\nkind: Appliance\nname: other\nversion: 1.0.0\ncontainers: [{name: other, image: {registry: %q}}]\n", h.samples.arm)
	fatal(t, os.WriteFile(path, []byte(text), 0o644))
	if _, said := h.run(3, "lock", path); !strings.Contains(said, "other.yaml:5:") || !strings.Contains(said, "the image is for linux/arm64; the appliance needs linux/amd64") {
		t.Errorf("an image for another architecture: %s", said)
	}
}

// listed compares the files that every sample sees of itself with what another tool says of the image.
func (h *host) listed(t *testing.T, r vm.Result) {
	if os.Geteuid() != 0 {
		t.Log("SKIPPED: only root can unpack foreign owners and devices")
		return
	}
	want := h.samples.wantTree(t)
	for _, container := range sampled {
		if diff := cmp.Diff(want, listing(t, h.logs(r, container))); diff != "" {
			t.Errorf("umoci (-) and container %s (+) see other files:\n%s", container, diff)
		}
	}
}

// logs returns what a container said, once it listed everything.
func (h *host) logs(r vm.Result, container string) string {
	h.t.Helper()
	return h.ssh(r, "for i in $(seq 30); do sudo docker logs "+container+" 2>&1 | tail -n 1 | grep -qx end && break; sleep 1; done; sudo docker logs "+container+" 2>&1")
}

// unloaded requires that every image is in the engine's store and that no boot put it there.
func (h *host) unloaded(t *testing.T, r vm.Result) {
	images := h.ssh(r, "sudo docker image ls --digests --format '{{.Repository}} {{.Tag}} {{.Digest}}'")
	repository, _, _ := strings.Cut(h.samples.pulled, "@")
	for _, want := range []string{"localhost/layers latest", "sample.example/org/saved 1.0", repository + " <none>", "localhost/model latest"} {
		if !strings.Contains(images, want) {
			t.Errorf("docker image ls lacks %s:\n%s", want, images)
		}
	}
	if loads := h.ssh(r, "sudo docker events --since 1h --until 0s --filter type=image --format '{{.Action}} {{.Actor.ID}}'"); loads != "" {
		t.Errorf("the engine had to do with images:\n%s", loads)
	}
	if journal := h.ssh(r, "sudo journalctl -b --no-pager -u agi-model -u docker -u containerd | grep -E 'Pulling|Pulled|PullImage|Loaded image|/images/(create|load)' || true"); journal != "" {
		t.Errorf("the journal tells of loads:\n%s", journal)
	}
	if blobs := h.ssh(r, "sudo find /var/lib/containerd/io.containerd.content.v1.content -type f -newer /usr/lib/agibake/agid"); blobs != "" {
		t.Errorf("content that no bake placed:\n%s", blobs)
	}
}

// edited changes the compose file as its head tells a person to.
func (h *host) edited(t *testing.T, r vm.Result) {
	h.greeted(t, r, "baked, $1")
	before := h.ssh(r, "sudo docker inspect -f '{{.Id}} {{.State.StartedAt}}' saved")
	h.ssh(r, "sudo sed -i 's/GREETING: .*/GREETING: edited/' "+wire.StateRoot+"/docker/compose.yaml && sudo systemctl reload agi-model")
	h.greeted(t, r, "edited")
	if after := h.ssh(r, "sudo docker inspect -f '{{.Id}} {{.State.StartedAt}}' saved"); after != before {
		t.Errorf("a reload touched a container whose settings did not change: %s, before %s", after, before)
	}
	h.ssh(r, "sudo systemctl restart agi-model")
	h.greeted(t, r, "edited")
}

// greeted requires that the container of the layout was last started with a greeting in its environment.
func (h *host) greeted(t *testing.T, r vm.Result, want string) {
	t.Helper()
	_, said, _ := cutLast("\n"+h.logs(r, "layers"), "\ngreeting ")
	if got, _, _ := strings.Cut(said, "\n"); got != want {
		t.Errorf("the container has the greeting %q, the compose file %q", got, want)
	}
}
