package trust

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/registry"
	"github.com/agibake/agibake/internal/sample"
	"github.com/agibake/agibake/internal/sign"
)

// keys are two makers.
var keys = sync.OnceValue(func() (list [2]*sign.Key) {
	for i := range list {
		private, _, err := sign.GenerateKeyPair([]byte("pw"))
		if err != nil {
			panic(err)
		}
		if list[i], err = sign.LoadPrivate(private, []byte("pw")); err != nil {
			panic(err)
		}
	}
	return list
})

var both = SignOptions{Reference: "saiga", Forms: []string{Bundle, Legacy}}

// signed is a sample that the first maker signed.
func signed(t *testing.T, dir string, s sample.Spec) (*artifact.Layout, *artifact.Appliance) {
	t.Helper()
	l, a := sample.Appliance(t, dir, s)
	if _, err := Sign(t.Context(), l, Of(a), keys()[0], both); err != nil {
		t.Fatal(err)
	}
	return l, a
}

// stores runs a test on an unsigned appliance in a layout and in two kinds of registry.
func stores(t *testing.T, run func(t *testing.T, s artifact.Store, a *artifact.Appliance)) {
	t.Run("layout", func(t *testing.T) {
		l, a := sample.Appliance(t, t.TempDir(), sample.Spec{})
		run(t, l, a)
	})
	for name, referrers := range map[string]bool{"registry with referrers": true, "registry without": false} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(referrers), ggcr.Logger(log.New(io.Discard, "", 0))))
			t.Cleanup(server.Close)
			l, a := sample.Appliance(t, t.TempDir(), sample.Spec{})
			r, err := registry.Open(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/saiga:1.0.0", registry.Options{State: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := registry.Push(t.Context(), l, a.Index, r, registry.PushOptions{}, nil); err != nil {
				t.Fatal(err)
			}
			run(t, r, a)
		})
	}
}

func TestSignAndVerify(t *testing.T) {
	mine, stranger := KeyPolicy(keys()[0].Public()), KeyPolicy(keys()[1].Public())
	stores(t, func(t *testing.T, s artifact.Store, a *artifact.Appliance) {
		refused := func(what string, p *Policy) {
			t.Helper()
			if v, err := Verify(t.Context(), s, Of(a), "x", p); fault.KindOf(err) != fault.Untrusted || v != nil {
				t.Errorf("%s: %v, %v", what, v, err)
			}
		}
		refused("unsigned", mine)
		made, err := Sign(t.Context(), s, Of(a), keys()[0], both)
		if err != nil || len(made) != 4 {
			t.Fatalf("%q, %v", made, err)
		}
		if made, err := Sign(t.Context(), s, Of(a), keys()[0], both); err != nil || len(made) != 0 {
			t.Errorf("a second time: %q, %v", made, err)
		}
		refused("by somebody else", stranger)
		v, err := Verify(t.Context(), s, Of(a), "x", mine)
		if err != nil {
			t.Fatal(err)
		}
		want := []Signature{{Bundle, keys()[0].String()}, {Legacy, keys()[0].String()}}
		if !slices.Equal(v.Signatures, want) || !slices.Equal(v.Attestations, []string{SBOM, Provenance}) || v.Digest != a.Index.Digest || v.Version != "1.0.0" {
			t.Errorf("%+v", v)
		}
		if !strings.Contains(string(v.SBOM), "htop") || !strings.Contains(string(v.Provenance), "compression") {
			t.Errorf("%s\n%s", v.SBOM, v.Provenance)
		}
		if made, err := Sign(t.Context(), s, Of(a), keys()[1], SignOptions{Forms: []string{Legacy}}); err != nil || len(made) != 1 {
			t.Fatalf("the other key: %q, %v", made, err)
		}
		for i, p := range []*Policy{mine, stranger, KeyPolicy(keys()[0].Public(), keys()[1].Public())} {
			v, err := Verify(t.Context(), s, Of(a), "x", p)
			if err != nil || len(v.Signatures) != []int{2, 1, 3}[i] {
				t.Errorf("policy %d: %+v, %v", i, v, err)
			}
		}
		if _, err := Sign(t.Context(), s, Of(a), keys()[1], SignOptions{Forms: []string{"x509"}}); err == nil {
			t.Error("an unknown form was taken")
		}
	})
}

// TestAttestationAlone is no signature, and one about another appliance counts for nothing.
func TestAttestationAlone(t *testing.T) {
	l, a := sample.Appliance(t, t.TempDir(), sample.Spec{})
	w := &signing{s: l, a: Of(a), key: keys()[0], found: &proofs{}}
	statement, err := sign.Statement("x", a.Index.Digest, sign.SPDXPredicateType, []byte(`{}`))
	if err == nil {
		err = w.bundle(t.Context(), "sbom", sign.SPDXPredicateType, statement)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(t.Context(), l, Of(a), "x", KeyPolicy(keys()[0].Public()))
	if fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), "no signature") {
		t.Error(err)
	}
	_, other := sample.Appliance(t, t.TempDir(), sample.Spec{Version: "2.0.0"})
	statement, err = sign.Statement("x", other.Index.Digest, sign.SignaturePredicateType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bundle(t.Context(), "signature", sign.SignaturePredicateType, statement); err == nil {
		t.Error("signed a statement about another appliance")
	}
}

// TestOtherDocuments: an SBOM beside the signed one is not believed, one in its stead is refused.
func TestOtherDocuments(t *testing.T) {
	dir := t.TempDir()
	l, a := signed(t, dir, sample.Spec{})
	forged := artifact.Referrer{Type: artifact.TypeSPDX, Title: "sbom.spdx.json", Data: []byte(`{"spdxVersion":"SPDX-2.3","packages":[]}`)}
	if _, err := artifact.PutReferrer(t.Context(), l, a.Index, forged); err != nil {
		t.Fatal(err)
	}
	v, err := Verify(t.Context(), l, Of(a), "x", KeyPolicy(keys()[0].Public()))
	if err != nil || !strings.Contains(string(v.SBOM), "htop") {
		t.Errorf("%s, %v", v.SBOM, err)
	}
	clean, b := sample.Appliance(t, t.TempDir(), sample.Spec{Motd: "other"})
	w := &signing{s: clean, a: Of(b), key: keys()[0], found: &proofs{}, o: both}
	statement, err := sign.Statement("x", b.Index.Digest, sign.SPDXPredicateType, forged.Data)
	if err == nil {
		err = w.bundle(t.Context(), "sbom", sign.SPDXPredicateType, statement)
	}
	if err == nil {
		err = w.legacy(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(t.Context(), clean, Of(b), "x", KeyPolicy(keys()[0].Public()))
	if fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), "not the one that was signed") {
		t.Error(err)
	}
}

// TestMovedSignatures: signatures of one appliance do nothing for another.
func TestMovedSignatures(t *testing.T) {
	dir := t.TempDir()
	l, a := signed(t, dir, sample.Spec{})
	other, b := sample.Appliance(t, t.TempDir(), sample.Spec{Version: "2.0.0"})
	all, err := l.Referrers(t.Context(), a.Index.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		text, err := artifact.ReadReferrer(t.Context(), l, d, a.Index.Digest, d.ArtifactType, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.PutReferrer(t.Context(), other, b.Index, artifact.Referrer{Type: d.ArtifactType, Title: "x", Data: text}); err != nil {
			t.Fatal(err)
		}
	}
	sig, err := l.Resolve(t.Context(), artifact.TagOf(a.Index.Digest, ".sig"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.Manifest(t.Context(), sig)
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.Decode(raw, sig)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(m.Layers, *m.Config) {
		data, err := artifact.ReadBlob(t.Context(), l, d, 1<<20)
		if err == nil {
			err = other.PutBlob(t.Context(), d, bytes.NewReader(data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := other.PutManifest(t.Context(), sig, raw, artifact.TagOf(b.Index.Digest, ".sig")); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), other, Of(b), "x", KeyPolicy(keys()[0].Public())); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("signatures of another appliance were taken: %v", err)
	}
}

// TestFlood: more signatures than anybody needs are not read.
func TestFlood(t *testing.T) {
	l, a := signed(t, t.TempDir(), sample.Spec{})
	for i := range maxSignatures {
		junk := artifact.Referrer{Type: sign.BundleMediaType, Title: "x", Data: []byte(strings.Repeat("x", i+1))}
		if _, err := artifact.PutReferrer(t.Context(), l, a.Index, junk); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Verify(t.Context(), l, Of(a), "x", KeyPolicy(keys()[0].Public()))
	if fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), "floods") {
		t.Error(err)
	}
}
