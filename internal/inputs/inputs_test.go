package inputs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/registry"
	"github.com/agibake/agibake/internal/sample"
)

func store(t *testing.T) *cas.Store {
	t.Helper()
	s, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *cas.Store, text string) string {
	t.Helper()
	sum, _, err := s.Put(t.Context(), strings.NewReader(text), "", -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestThereAndBack goes through a registry: a cache that has nothing gets what the lock pins.
func TestThereAndBack(t *testing.T) {
	full, l := store(t), sample.Lock("1.0.0")
	dir := t.TempDir()
	if _, _, err := Layout(t.Context(), dir+"/early", l, full); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "/etc/input") {
		t.Errorf("a cache without it gives %v", err)
	}
	sum := put(t, full, "input")
	layout, d, err := Layout(t.Context(), dir+"/one", l, full)
	if err != nil {
		t.Fatal(err)
	}
	if _, again, err := Layout(t.Context(), dir+"/two", l, full); err != nil || again.Digest != d.Digest {
		t.Errorf("%s and %s, %v", d.Digest, again.Digest, err)
	}
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	tag := Tag(digest.FromString("index"))
	r, err := registry.Open(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/saiga:"+tag, registry.Options{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), r, tag); !errors.Is(err, artifact.ErrNotFound) {
		t.Error(err)
	}
	if _, err := registry.Push(t.Context(), layout, d, r, registry.PushOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	src, err := Open(t.Context(), r, tag)
	if err != nil {
		t.Fatal(err)
	}
	empty := store(t)
	if ok, err := src.Get(t.Context(), empty, sum, 5, nil); !ok || err != nil || !empty.Has(sum, 5) {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := src.Get(t.Context(), empty, sum, 5, nil); !ok || err != nil {
		t.Errorf("a second time: %v, %v", ok, err)
	}
	if ok, err := src.Get(t.Context(), empty, strings.Repeat("0", 64), 5, nil); ok || err != nil {
		t.Errorf("what is not there: %v, %v", ok, err)
	}
}

// parted is a source of one input in parts, which breaks off after some bytes, each time.
type parted struct {
	parts []string
	after int
	fails int
	left  []v1.Descriptor
}

var errCut = errors.New("cut")

func (p *parted) Manifest(context.Context, v1.Descriptor) ([]byte, error) {
	return nil, artifact.ErrNotFound
}
func (p *parted) Blob(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	for _, text := range p.parts {
		if digest.FromString(text) == d.Digest {
			rest := text[offset:]
			if p.fails == 0 || len(rest) <= p.after {
				return io.NopCloser(strings.NewReader(rest)), nil
			}
			p.fails--
			return io.NopCloser(io.MultiReader(strings.NewReader(rest[:p.after]), errReader{})), nil
		}
	}
	return nil, artifact.ErrNotFound
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errCut }

func (p *parted) source(sum string) *Source {
	for _, text := range p.parts {
		p.left = append(p.left, v1.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))})
	}
	return &Source{p, map[string][]v1.Descriptor{sum: p.left}}
}

// TestCutTransfers go on where they stopped, over the borders of parts and in a later call.
func TestCutTransfers(t *testing.T) {
	whole := "one, two, three"
	sum := digest.FromString(whole).Encoded()
	for _, fails := range []int{0, 1, 3, 30} {
		p := &parted{parts: []string{"one, ", "two, three"}, after: 1, fails: fails}
		s := store(t)
		if ok, err := p.source(sum).Get(t.Context(), s, sum, int64(len(whole)), nil); !ok || err != nil {
			t.Fatalf("%d faults: %v, %v", fails, ok, err)
		}
		got, err := os.ReadFile(s.Path(sum))
		if err != nil || string(got) != whole {
			t.Errorf("%q, %v", got, err)
		}
	}
	p := &parted{parts: []string{"one, ", "two, three"}, after: 0, fails: maxTries}
	s := store(t)
	src := p.source(sum)
	if ok, err := src.Get(t.Context(), s, sum, int64(len(whole)), nil); !ok || !errors.Is(err, errCut) {
		t.Errorf("no headway: %v, %v", ok, err)
	}
	if ok, err := src.Get(t.Context(), s, sum, int64(len(whole)), nil); !ok || err != nil {
		t.Errorf("later: %v, %v", ok, err)
	}
}

// TestHostileSources give other bytes, too few or too many; none of it comes into the cache.
func TestHostileSources(t *testing.T) {
	whole := "one, two, three"
	sum := digest.FromString(whole).Encoded()
	for name, parts := range map[string][]string{"other": {"one, two, thrEE"}, "short": {"one"}, "long": {whole, "and more"}, "twisted": {"two, three", "one, "}} {
		s := store(t)
		ok, err := (&parted{parts: parts}).source(sum).Get(t.Context(), s, sum, int64(len(whole)), nil)
		if !ok || fault.KindOf(err) != fault.Untrusted || s.Has(sum, -1) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

func TestManifestsThatAreNoInputs(t *testing.T) {
	dir := t.TempDir()
	l, err := artifact.CreateLayout(filepath.Join(dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	part := func(title string) v1.Descriptor {
		d := v1.Descriptor{MediaType: artifact.TypeInput, Digest: digest.FromString("x"), Size: 1, Annotations: map[string]string{v1.AnnotationTitle: title}}
		if err := l.PutBlob(t.Context(), d, bytes.NewReader([]byte("x"))); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for kind, layers := range map[string][]v1.Descriptor{
		"text/plain":        {part("a")},
		artifact.TypeInputs: {part("a.part-002"), part("a.part-001")},
	} {
		d, err := l.PutArtifact(t.Context(), kind, layers)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := artifact.ReadBlob(t.Context(), l, d, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.PutManifest(t.Context(), d, raw, "tag"); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), l, "tag"); err == nil {
			t.Errorf("%s was taken", kind)
		}
	}
}
