package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func describe(data string) v1.Descriptor {
	return v1.Descriptor{MediaType: "text/plain", Digest: digest.FromString(data), Size: int64(len(data))}
}

func TestVerified(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		d    v1.Descriptor
		good bool
	}{
		"whole":      {"content", describe("content"), true},
		"empty":      {"", describe(""), true},
		"flipped":    {"cOntent", describe("content"), false},
		"short":      {"conten", describe("content"), false},
		"long":       {"contents", describe("content"), false},
		"wrong size": {"content", v1.Descriptor{Digest: digest.FromString("content"), Size: 5}, false},
	} {
		r, err := Verified(strings.NewReader(c.data), c.d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if int64(len(got)) > c.d.Size || (err == nil) != c.good || err != nil && !errors.Is(err, ErrDigest) || c.good && string(got) != c.data {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := Verified(nil, v1.Descriptor{Digest: "md5:0"}); err == nil {
		t.Error("a digest of another kind was taken")
	}
}

func TestLayoutStore(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "oci")
	if _, err := OpenLayout(dir); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	l, err := CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s Store = l
	blob := describe("content")
	if err := s.PutBlob(ctx, blob, strings.NewReader("cOntent")); !errors.Is(err, ErrDigest) {
		t.Error(err)
	}
	if have, err := s.Has(ctx, blob); have || err != nil {
		t.Errorf("%v, %v", have, err)
	}
	if err := s.PutBlob(ctx, blob, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadBlob(ctx, s, blob, 100); string(data) != "content" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := ReadBlob(ctx, s, blob, 3); !errors.Is(err, ErrDigest) {
		t.Error(err)
	}
	put := func(m v1.Manifest, tag string) v1.Descriptor {
		t.Helper()
		m.MediaType = v1.MediaTypeImageManifest
		raw, d, err := Encode(v1.MediaTypeImageManifest, m)
		if err == nil {
			err = s.PutManifest(ctx, d, raw, tag)
		}
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := put(v1.Manifest{ArtifactType: "a/b", Layers: []v1.Descriptor{blob}}, "1.0")
	referrer := put(v1.Manifest{ArtifactType: "c/d", Subject: &first, Annotations: map[string]string{"k": "v"}}, "")
	put(v1.Manifest{ArtifactType: "c/d", Subject: &referrer}, "")
	put(v1.Manifest{ArtifactType: "c/d", Subject: &first, Annotations: map[string]string{"k": "v"}}, "")
	if found, err := s.Referrers(ctx, first.Digest); err != nil || len(found) != 1 || found[0].Digest != referrer.Digest ||
		found[0].ArtifactType != "c/d" || found[0].Annotations["k"] != "v" {
		t.Errorf("%v, %v", found, err)
	}
	second := put(v1.Manifest{ArtifactType: "e/f"}, "1.0")
	if d, err := s.Resolve(ctx, "1.0"); err != nil || d.Digest != second.Digest {
		t.Errorf("%v, %v", d, err)
	}
	if d, err := s.Resolve(ctx, string(referrer.Digest)); err != nil || d.Digest != referrer.Digest {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := s.Resolve(ctx, "2.0"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	path, _ := l.Path(second.Digest)
	raw, _ := os.ReadFile(path)
	raw[len(raw)-3] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(ctx, second); !errors.Is(err, ErrDigest) {
		t.Error(err)
	}
}

// TestProvide reads a blob that stands in a file elsewhere.
func TestProvide(t *testing.T) {
	ctx := context.Background()
	l, err := CreateLayout(filepath.Join(t.TempDir(), "oci"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, []byte("before, content, after"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := describe("content")
	if have, _ := l.Has(ctx, d); have {
		t.Error("it is not there yet")
	}
	l.Provide(d, file, 8)
	if data, err := ReadBlob(ctx, l, d, 100); string(data) != "content" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	r, err := l.Blob(ctx, d, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, _ := io.ReadAll(r); string(data) != "tent" {
		t.Errorf("%q", data)
	}
	if have, err := l.Has(ctx, d); !have || err != nil {
		t.Errorf("%v, %v", have, err)
	}
}

// FuzzDecode: what a manifest says of itself agrees with its descriptor, or nothing is returned.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, `{"layers":[],"config":{"mediaType":"x"}}`, `{"manifests":[],"layers":[]}`} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, index bool) {
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest}
		if index {
			d.MediaType = v1.MediaTypeImageIndex
		}
		m, err := Decode(raw, d)
		if (m == nil) != (err != nil) {
			t.Fatalf("%v, %v", m, err)
		}
		if m == nil {
			return
		}
		if !json.Valid(raw) || m.MediaType != "" && m.MediaType != d.MediaType || len(m.Layers) > 0 && len(m.Manifests) > 0 {
			t.Errorf("%s: %v", bytes.TrimSpace(raw), m)
		}
	})
}

// TestCreateLayoutAtOnce: whoever comes first, no entry of index.json is lost.
func TestCreateLayoutAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			l, err := CreateLayout(dir)
			if err == nil {
				raw, d, _ := Encode(v1.MediaTypeImageIndex, v1.Index{Annotations: map[string]string{"n": fmt.Sprint(i)}})
				err = l.PutManifest(t.Context(), d, raw, fmt.Sprint("t", i))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if tags, err := l.Tags(t.Context()); err != nil || len(tags) != 16 {
		t.Errorf("%v %v", tags, err)
	}
}
