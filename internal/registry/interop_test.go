package registry

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/referee"
)

// TestSkopeo: skopeo copies what was pushed, and what skopeo pushed is pulled.
func TestSkopeo(t *testing.T) {
	referee.Need(t, "skopeo")
	ctx := context.Background()
	s := newSample(t, 2*mib)
	p := startRegistry(t, "docker-registry")
	r := open(t, p.address+"/a/b:1", Options{})
	must[*Sent](t)(Push(ctx, s.layout, s.root, r, PushOptions{}, nil))
	dir := t.TempDir()
	copied := "oci:" + dir + "/image:1"
	referee.Run(t, "skopeo", "--insecure-policy", "--override-os=linux", "--override-arch=amd64", "copy", "--preserve-digests", "--dest-oci-accept-uncompressed-layers", "--src-tls-verify=false", "docker://"+p.address+"/a/b:1", copied)
	referee.Run(t, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--preserve-digests", copied, "docker://"+p.address+"/c/d:2")
	back := open(t, p.address+"/c/d:2", Options{})
	root := must[v1.Descriptor](t)(back.Resolve(ctx, "2"))
	l := must[*artifact.Layout](t)(artifact.CreateLayout(dir + "/back"))
	got := must[*Got](t)(Pull(ctx, back, root, l, PullOptions{Tag: "2"}, nil))
	if got.Fetched != 2 || got.Total < 2*mib {
		t.Errorf("%+v", got)
	}
	referee.Run(t, "skopeo", "--insecure-policy", "copy", "oci:"+dir+"/back:2", "dir:"+dir+"/last")
	g := must[*graph](t)(walk(ctx, s.layout, s.root))
	if root.Digest != g.nodes[0].d.Digest {
		t.Errorf("the rootfs image became %s", root.Digest)
	}
}

// TestCraneAndOras lets crane judge the index and oras fetch a disk, where they are installed.
func TestCraneAndOras(t *testing.T) {
	s := newSample(t, 2*mib)
	host := serve(t, ggcr())
	must[*Sent](t)(Push(context.Background(), s.layout, s.root, open(t, host+"/a/b:1", Options{}), PushOptions{}, nil))
	t.Run("crane", func(t *testing.T) {
		referee.Need(t, "crane")
		referee.Run(t, "crane", "pull", "--insecure", "--format=oci", host+"/a/b:1", t.TempDir())
		if got := referee.Run(t, "crane", "digest", "--insecure", host+"/a/b:1"); got != s.root.Digest.String()+"\n" {
			t.Errorf("crane says %s", got)
		}
	})
	t.Run("oras", func(t *testing.T) {
		referee.Need(t, "oras")
		dir := t.TempDir()
		g := must[*graph](t)(walk(context.Background(), s.layout, s.root))
		for _, n := range g.nodes {
			if n.doc.ArtifactType == diskType+"raw" {
				referee.Run(t, "oras", "pull", "--plain-http", "-o", dir, host+"/a/b@"+n.d.Digest.String())
			}
		}
		if data, err := os.ReadFile(filepath.Join(dir, "saiga-1.raw")); err != nil || string(data) != string(noise(3, 3*mib)) {
			t.Errorf("%d bytes, %v", len(data), err)
		}
	})
}
