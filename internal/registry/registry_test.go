package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

// process is a registry program with its storage, which can be killed and started again.
type process struct {
	t             testing.TB
	name          string
	address, conf string
	storage       string
	cmd           *exec.Cmd
}

// startRegistry starts docker-registry (2.8 in Debian).
func startRegistry(t testing.TB, name string) *process {
	t.Helper()
	referee.Need(t, name)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, address: l.Addr().String(), storage: t.TempDir(), conf: filepath.Join(t.TempDir(), "c.yml")}
	l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s, secret: s}\n", p.storage, p.address)
	if err := os.WriteFile(p.conf, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = referee.Command(p.t, p.name, "serve", p.conf)
	p.cmd.Env = append(p.cmd.Env, "OTEL_TRACES_EXPORTER=none")
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for range 500 {
		if a, err := http.Get("http://" + p.address + "/v2/"); err == nil {
			a.Body.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("%s does not answer", p.name)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func ggcr(o ...registry.Option) http.Handler {
	return registry.New(append(o, registry.Logger(log.New(io.Discard, "", 0)))...)
}

// everyRegistry runs a test against each of them.
func everyRegistry(t *testing.T, run func(t *testing.T, host string)) {
	t.Run("spec", func(t *testing.T) { run(t, serve(t, newFake(t))) })
	t.Run("spec without referrers", func(t *testing.T) {
		f := newFake(t)
		f.referrers = false
		run(t, serve(t, f))
	})
	t.Run("go-containerregistry", func(t *testing.T) { run(t, serve(t, ggcr())) })
	t.Run("go-containerregistry with referrers", func(t *testing.T) { run(t, serve(t, ggcr(registry.WithReferrersSupport(true)))) })
	t.Run("docker-registry", func(t *testing.T) { run(t, startRegistry(t, "docker-registry").address) })
}

// TestPushPull: what is pushed comes back, a second push sends nothing, and only what is wanted is fetched.
func TestPushPull(t *testing.T) {
	ctx := context.Background()
	everyRegistry(t, func(t *testing.T, host string) {
		s := newSample(t, 5*mib+123)
		r := open(t, host+"/a/b:1", Options{})
		sent := must[*Sent](t)(Push(ctx, s.layout, s.root, r, PushOptions{}, nil))
		if sent.Sent == 0 || sent.Skipped != 0 || sent.Bytes != s.total || sent.Total != s.total {
			t.Errorf("first %+v of %d", sent, s.total)
		}
		if again := must[*Sent](t)(Push(ctx, s.layout, s.root, open(t, host+"/a/b:1", Options{}), PushOptions{}, nil)); again.Sent+again.Mounted != 0 || again.Bytes != 0 || again.Skipped != sent.Sent {
			t.Errorf("again %+v", again)
		}
		found := must[[]v1.Descriptor](t)(r.Referrers(ctx, s.root.Digest))
		if len(found) != 1 || found[0].Digest != s.sbom.Digest || found[0].ArtifactType != "application/spdx+json" {
			t.Errorf("referrers %v", found)
		}
		dir := t.TempDir()
		l := must[*artifact.Layout](t)(artifact.CreateLayout(filepath.Join(dir, "oci")))
		some := must[*Got](t)(Pull(ctx, r, s.root, l, PullOptions{Files: dir, Tag: "1.0.0",
			Want: func(d v1.Descriptor) bool { return d.ArtifactType == diskType+"qcow2" }}, nil))
		if len(some.Files) != 1 || some.Bytes > 5*mib+9999 || some.Bytes < 5*mib {
			t.Errorf("only qcow2: %+v", some)
		}
		rest := s.pulledTo(r, dir)
		if rest.Bytes > 5*mib+9999 || len(rest.Files) != 2 {
			t.Errorf("the rest: %+v", rest)
		}
		if none := s.pulledTo(r, dir); none.Bytes != 0 || none.Fetched != 0 {
			t.Errorf("nothing is missing: %+v", none)
		}
		if got := s.pulled(open(t, host+"/a/b@"+s.root.Digest.String(), Options{Concurrency: 1})); got.Bytes != s.total {
			t.Errorf("whole: %+v of %d", got, s.total)
		}
	})
}

// TestStore is what every artifact.Store does.
func TestStore(t *testing.T) {
	ctx := context.Background()
	everyRegistry(t, func(t *testing.T, host string) {
		var s artifact.Store = open(t, host+"/a/b", Options{})
		for _, data := range [][]byte{[]byte("content"), noise(4, 10*mib), noise(5, 3*mib+1)} {
			d := v1.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
			wrong := bytes.Clone(data)
			wrong[0] ^= 1
			if err := s.PutBlob(ctx, d, bytes.NewReader(wrong)); !errors.Is(err, artifact.ErrDigest) {
				t.Error(err)
			}
			if have, err := s.Has(ctx, d); have || err != nil {
				t.Errorf("%v, %v", have, err)
			}
			if err := s.PutBlob(ctx, d, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			if have, err := s.Has(ctx, d); !have || err != nil {
				t.Errorf("%v, %v", have, err)
			}
			for _, at := range []int64{0, 3, d.Size - 1, d.Size} {
				b := must[io.ReadCloser](t)(s.Blob(ctx, d, at))
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data[at:]) {
					t.Errorf("from %d: %d bytes, %v", at, len(got), err)
				}
				b.Close()
			}
			less := d
			less.Size--
			if _, err := artifact.ReadBlob(ctx, s, less, 1<<30); !errors.Is(err, artifact.ErrDigest) {
				t.Errorf("a size that is wrong: %v", err)
			}
		}
		if _, err := s.Resolve(ctx, "none"); !errors.Is(err, artifact.ErrNotFound) || fault.KindOf(err) != fault.Input {
			t.Error(err)
		}
		none := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1}
		if _, err := s.Manifest(ctx, none); !errors.Is(err, artifact.ErrNotFound) {
			t.Error(err)
		}
		if _, err := s.Blob(ctx, none, 0); !errors.Is(err, artifact.ErrNotFound) {
			t.Error(err)
		}
		if all, err := s.Referrers(ctx, none.Digest); err != nil || len(all) > 0 {
			t.Errorf("%v, %v", all, err)
		}
	})
}

// TestLargeAttachment: what somebody attached does not make a pull fetch more than a document's size.
func TestLargeAttachment(t *testing.T) {
	ctx := context.Background()
	s := newSample(t, 2*mib)
	r := open(t, serve(t, newFake(t))+"/a/b:1", Options{})
	must[*Sent](t)(Push(ctx, s.layout, s.root, r, PushOptions{}, nil))
	raw, d, err := artifact.Encode(v1.MediaTypeImageManifest, v1.Manifest{MediaType: v1.MediaTypeImageManifest, ArtifactType: "a/junk", Subject: &s.root,
		Config: v1.DescriptorEmptyJSON, Layers: []v1.Descriptor{{MediaType: "a/junk", Digest: digest.FromString("never sent"), Size: maxAttached + 1}}})
	if err == nil {
		err = r.PutManifest(ctx, d, raw, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := must[*artifact.Layout](t)(artifact.CreateLayout(filepath.Join(dir, "oci")))
	got := must[*Got](t)(Pull(ctx, open(t, r.String()+":1", Options{}), s.root, l, PullOptions{Files: dir, Tag: "1.0.0"}, nil))
	if got.Total > s.total+mib {
		t.Errorf("%d bytes were wanted", got.Total)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "saiga-1.qcow2")); err != nil || !bytes.Equal(data, s.disk) {
		t.Errorf("the disk has %d bytes, %v", len(data), err)
	}
}
