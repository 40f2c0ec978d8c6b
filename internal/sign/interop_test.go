package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

const slsa = `{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{"recipe":"a<b"}},"runDetails":{"builder":{"id":"https://example.org/"}}}`

// bench is a registry with an image in it, and a folder with keys, for cosign.
type bench struct {
	*testing.T
	dir  string
	repo name.Repository
}

func newBench(t *testing.T, referrers bool) bench {
	t.Helper()
	referee.Need(t, "cosign")
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	repo, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/saiga")
	if err != nil {
		t.Fatal(err)
	}
	b := bench{t, t.TempDir(), repo}
	b.write("cosign.key", pair().private)
	b.write("cosign.pub", pair().public)
	b.write("stranger.pub", stranger(t).PEM())
	b.write("slsa.json", []byte(slsa))
	b.write("sbom.json", []byte(`{"spdxVersion":"SPDX-2.3","name":"x"}`))
	// Keys need no trusted services, but for bundles cosign insists on a document about them.
	b.write("trusted.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	return b
}

func (b bench) write(file string, data []byte) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, file), data, 0o600); err != nil {
		b.Fatal(err)
	}
}

// image pushes an image of random bytes.
func (b bench) image() (name.Digest, digest.Digest) {
	b.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		b.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		b.Fatal(err)
	}
	ref := b.repo.Digest(h.String())
	if err := remote.Write(ref, img); err != nil {
		b.Fatal(err)
	}
	return ref, digest.Digest(h.String())
}

// cosign runs the real one without a network but the registry's.
func (b bench) cosign(args ...string) (string, error) {
	b.Helper()
	c := referee.Command(b, "cosign", args...)
	c.Dir = b.dir
	c.Env = append(c.Env, "COSIGN_PASSWORD="+password, "HOME="+b.dir, "TUF_ROOT="+b.dir+"/tuf", "HTTPS_PROXY=http://127.0.0.1:1")
	out, err := c.CombinedOutput()
	return string(out), err
}

func (b bench) accepts(args ...string) {
	b.Helper()
	if out, err := b.cosign(args...); err != nil {
		b.Errorf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for i, a := range args {
		if a == "cosign.pub" {
			args[i] = "stranger.pub"
			if out, err := b.cosign(args...); err == nil {
				b.Errorf("cosign takes any key: %s\n%s", strings.Join(args, " "), out)
			}
		}
	}
}

// manifest is pushed as it is.
type manifest struct{ v1.Manifest }

func (m manifest) RawManifest() ([]byte, error)        { return json.Marshal(m.Manifest) }
func (m manifest) MediaType() (types.MediaType, error) { return m.Manifest.MediaType, nil }

func (b bench) layer(data []byte, kind string) v1.Descriptor {
	b.Helper()
	l := static.NewLayer(data, types.MediaType(kind))
	if err := remote.WriteLayer(b.repo, l); err != nil {
		b.Fatal(err)
	}
	h, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	return v1.Descriptor{MediaType: types.MediaType(kind), Digest: h, Size: int64(len(data))}
}

func (b bench) put(ref name.Reference, m v1.Manifest) {
	b.Helper()
	m.SchemaVersion, m.MediaType = 2, types.OCIManifestSchema1
	if ref == nil {
		raw, err := json.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		ref = b.repo.Digest(digest.FromBytes(raw).String())
	}
	if err := remote.Put(ref, manifest{m}); err != nil {
		b.Fatal(err)
	}
}

// attachLegacy puts a signature where cosign looks for it.
func (b bench) attachLegacy(d digest.Digest, payload []byte, signature string) {
	b.Helper()
	l := b.layer(payload, PayloadMediaType)
	l.Annotations = map[string]string{SignatureAnnotation: signature}
	b.put(b.repo.Tag("sha256-"+d.Encoded()+".sig"), v1.Manifest{
		Config: b.layer([]byte(`{}`), string(types.OCIConfigJSON)), Layers: []v1.Descriptor{l},
	})
}

func (b bench) attachBundle(ref name.Digest, bundle []byte) {
	b.Helper()
	subject, err := remote.Head(ref)
	if err != nil {
		b.Fatal(err)
	}
	b.put(nil, v1.Manifest{
		ArtifactType: BundleMediaType,
		Config:       b.layer([]byte(`{}`), "application/vnd.oci.empty.v1+json"),
		Layers:       []v1.Descriptor{b.layer(bundle, BundleMediaType)},
		Subject:      subject,
	})
}

func (b bench) bundle(d digest.Digest, predicateType, predicate string) []byte {
	b.Helper()
	var raw []byte
	if predicate != "" {
		raw = []byte(predicate)
	}
	statement, err := Statement("saiga", d, predicateType, raw)
	if err != nil {
		b.Fatal(err)
	}
	text, err := loaded().SignBundle(context.Background(), statement)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// TestCosignAcceptsOurs, in registries with the referrers API and with the tag that stands in for it.
func TestCosignAcceptsOurs(t *testing.T) {
	for title, referrers := range map[string]bool{"referrers": true, "tag fallback": false} {
		t.Run(title, func(t *testing.T) {
			b := newBench(t, referrers)
			verify := []string{"verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true"}

			ref, d := b.image()
			payload, signature, err := loaded().SignLegacy(b.repo.Name(), d, map[string]string{"version": "1"})
			if err != nil {
				t.Fatal(err)
			}
			b.attachLegacy(d, payload, signature)
			b.accepts(append(verify, "-a", "version=1", ref.String())...)

			ref, d = b.image()
			b.attachBundle(ref, b.bundle(d, SignaturePredicateType, ""))
			b.accepts(append(verify, "--new-bundle-format", "--trusted-root", "trusted.json", ref.String())...)
			b.accepts(append(verify, "--trusted-root", "trusted.json", ref.String())...)

			attest := []string{"verify-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--trusted-root", "trusted.json"}
			b.attachBundle(ref, b.bundle(d, SPDXPredicateType, `{"spdxVersion":"SPDX-2.3"}`))
			b.attachBundle(ref, b.bundle(d, ProvenancePredicateType, slsa))
			b.accepts(append(attest, "--type", "spdxjson", ref.String())...)
			b.accepts(append(attest, "--type", "slsaprovenance1", "--new-bundle-format", ref.String())...)
		})
	}
}

// layers returns the content of the only layer, and its descriptor, of each manifest that refers to ref, or of the one with the tag.
func (b bench) layers(ref name.Digest, tag string) (list [][]byte, last v1.Descriptor) {
	b.Helper()
	var refs []name.Reference
	if tag != "" {
		refs = append(refs, b.repo.Tag(tag))
	} else {
		index, err := remote.Referrers(ref)
		if err != nil {
			b.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range m.Manifests {
			refs = append(refs, b.repo.Digest(d.Digest.String()))
		}
	}
	for _, r := range refs {
		img, err := remote.Image(r)
		if err != nil {
			b.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil || len(m.Layers) != 1 {
			b.Fatalf("%+v, %v", m, err)
		}
		last = m.Layers[0]
		l, err := remote.Layer(b.repo.Digest(last.Digest.String()))
		if err != nil {
			b.Fatal(err)
		}
		r, err := l.Compressed()
		if err != nil {
			b.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, data)
	}
	return list, last
}

func TestWeAcceptCosigns(t *testing.T) {
	b, v, ctx := newBench(t, true), loaded().Public(), context.Background()
	ref, d := b.image()
	must := func(args ...string) {
		t.Helper()
		if out, err := b.cosign(append(args, "--key", "cosign.key", "--tlog-upload=false", "--yes", ref.String())...); err != nil {
			t.Fatalf("cosign %s: %v\n%s", args, err, out)
		}
	}

	must("sign", "-a", "version=2")
	payloads, layer := b.layers(ref, "sha256-"+d.Encoded()+".sig")
	claims, err := v.VerifyLegacy(payloads[0], layer.Annotations[SignatureAnnotation], d)
	if err != nil || claims.Reference != b.repo.Name() || claims.Optional["version"] != "2" || string(layer.MediaType) != PayloadMediaType {
		t.Errorf("%+v, %v", claims, err)
	}
	_, err = stranger(t).VerifyLegacy(payloads[0], layer.Annotations[SignatureAnnotation], d)
	refused(t, "legacy", err)

	must("attest", "--type", "spdxjson", "--predicate", "sbom.json")
	envelopes, layer := b.layers(ref, "sha256-"+d.Encoded()+".att")
	statement, err := v.VerifyEnvelope(ctx, envelopes[0], d)
	if err != nil || string(layer.MediaType) != EnvelopeMediaType {
		t.Fatalf("%+v, %v", layer, err)
	}
	expectPredicate(t, statement, SPDXPredicateType)
	_, err = v.VerifyEnvelope(ctx, envelopes[0], other)
	refused(t, "attestation of another", err)
	_, err = stranger(t).VerifyEnvelope(ctx, envelopes[0], d)
	refused(t, "attestation by another", err)
	_, err = v.VerifyEnvelope(ctx, bytes.Replace(envelopes[0], []byte(`"payload":"ey`), []byte(`"payload":"ez`), 1), d)
	refused(t, "attestation changed", err)

	for kind, args := range map[string][]string{
		SignaturePredicateType:  {"sign", "--new-bundle-format"},
		ProvenancePredicateType: {"attest", "--new-bundle-format", "--type", "slsaprovenance1", "--predicate", "slsa.json"},
	} {
		ref, d = b.image()
		must(args...)
		bundles, layer := b.layers(ref, "")
		if len(bundles) != 1 || string(layer.MediaType) != BundleMediaType {
			t.Fatalf("%s: %d bundles, %+v", kind, len(bundles), layer)
		}
		statement, err := v.VerifyBundle(ctx, bundles[0], d)
		if err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, bundles[0])
		}
		expectPredicate(t, statement, kind)
		_, err = stranger(t).VerifyBundle(ctx, bundles[0], d)
		refused(t, kind, err)
	}
}

func expectPredicate(t *testing.T, statement []byte, kind string) {
	t.Helper()
	if a, err := ParseStatement(statement); err != nil || a.PredicateType != kind {
		t.Errorf("statement %s, %v, want %s", statement, err, kind)
	}
}

// TestCosignsKeys are ours and the other way about: signing with ours is in TestWeAcceptCosigns.
func TestCosignsKeys(t *testing.T) {
	b := newBench(t, true)
	if out, err := b.cosign("generate-key-pair", "--output-key-prefix", "theirs"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	private, err := os.ReadFile(filepath.Join(b.dir, "theirs.key"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(b.dir, "theirs.pub"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := LoadPrivate(private, []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	v, err := LoadPublic(public)
	if err != nil || v.String() != k.String() {
		t.Errorf("%v, %v, %v", v, k, err)
	}
	out, err := b.cosign("public-key", "--key", "cosign.key")
	if err != nil || !strings.Contains(out, string(pair().public)) {
		t.Errorf("our private key, read by cosign, has public half\n%s%v", out, err)
	}
}
