package sign

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const password, wrongPassword = "correct horse", "battery staple"

var (
	thing = digest.FromString("an appliance")
	other = digest.FromString("another appliance")
)

// pair makes one key pair for all tests: the password's derivation is slow on purpose.
var pair = sync.OnceValue(func() (p struct{ private, public []byte }) {
	var err error
	if p.private, p.public, err = GenerateKeyPair([]byte(password)); err != nil {
		panic(err)
	}
	return p
})

var loaded = sync.OnceValue(func() *Key {
	k, err := LoadPrivate(pair().private, []byte(password))
	if err != nil {
		panic(err)
	}
	return k
})

// stranger is a key that signed nothing.
func stranger(t testing.TB) *Verifier {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v, err := newVerifier(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func signLegacy(t testing.TB) ([]byte, string) {
	t.Helper()
	text, signature, err := loaded().SignLegacy("example.org/saiga", thing, map[string]string{"version": "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	return text, signature
}

func signBundle(t testing.TB, predicateType string, predicate []byte) []byte {
	t.Helper()
	statement, err := Statement("", thing, predicateType, predicate)
	if err != nil {
		t.Fatal(err)
	}
	b, err := loaded().SignBundle(context.Background(), statement)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refused expects an error of kind fault.Untrusted that names no secret.
func refused(t testing.TB, what string, err error) {
	t.Helper()
	if fault.KindOf(err) != fault.Untrusted {
		t.Errorf("%s: %v, kind %d", what, err, fault.KindOf(err))
	}
	keepsSecrets(t, what, fmt.Sprint(err))
}

func keepsSecrets(t testing.TB, what, text string) {
	t.Helper()
	for _, secret := range []string{password, wrongPassword, string(pair().private[60:90])} {
		if strings.Contains(text, secret) {
			t.Errorf("%s: a secret is in %q", what, text)
		}
	}
}

func TestLegacy(t *testing.T) {
	text, signature := signLegacy(t)
	v, err := LoadPublic(pair().public)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.VerifyLegacy(text, signature, thing)
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{thing, "example.org/saiga", map[string]string{"version": "1.0.0"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const form = `{"critical":{"identity":{"docker-reference":"example.org/saiga"},"image":{"docker-manifest-digest":"%s"},` +
		`"type":"cosign container image signature"},"optional":{"version":"1.0.0"}}`
	if want := fmt.Sprintf(form, thing); string(text) != want {
		t.Errorf("payload %s\nwant %s", text, want)
	}
	_, err = stranger(t).VerifyLegacy(text, signature, thing)
	refused(t, "another key", err)
	_, err = v.VerifyLegacy(text, signature, other)
	refused(t, "another digest", err)
	_, err = v.VerifyLegacy(bytes.Replace(text, []byte(thing), []byte(other), 1), signature, other)
	refused(t, "digest replaced in the payload", err)
	_, err = v.VerifyLegacy(text, signature, "sha512:"+digest.Digest(strings.Repeat("0", 128)))
	refused(t, "another algorithm", err)
	_, err = v.VerifyLegacy(text, signature, "sha256:..")
	refused(t, "no digest", err)
	for name, s := range map[string]string{"empty": "", "line break": signature[:8] + "\n" + signature[8:], "long": strings.Repeat("A", maxSignature+4), "no base64": "!!"} {
		_, err = v.VerifyLegacy(text, s, thing)
		refused(t, name+" signature", err)
	}
	_, err = v.VerifyLegacy(bytes.Repeat([]byte(" "), MaxPayload+1), signature, thing)
	refused(t, "large payload", err)
}

// TestOptionalOfOtherSigners: cosign's optional values need not be text.
func TestOptionalOfOtherSigners(t *testing.T) {
	text := []byte(`{"critical":{"image":{"docker-manifest-digest":"` + thing.String() + `"}},"optional":{"n":5,"s":"t","o":{"a":null}}}`)
	raw, err := loaded().signer.SignMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := loaded().Public().VerifyLegacy(text, base64.StdEncoding.EncodeToString(raw), thing)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Claims{thing, "", map[string]string{"n": "5", "s": "t", "o": `{"a":null}`}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBundle(t *testing.T) {
	ctx := context.Background()
	predicate := []byte(`{"name":"a<b>&c","list":[1.50,1e3],"я":"\u00e9"}`)
	text := signBundle(t, SPDXPredicateType, predicate)
	v := loaded().Public()
	statement, err := v.VerifyBundle(ctx, text, thing)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + thing.Encoded() +
		`"}}],"predicateType":"https://spdx.dev/Document","predicate":` + string(predicate) + `}`
	if string(statement) != want {
		t.Errorf("statement %s\nwant %s", statement, want)
	}
	a, err := ParseStatement(statement)
	if err != nil || a.PredicateType != SPDXPredicateType || !bytes.Equal(a.Predicate, predicate) {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = stranger(t).VerifyBundle(ctx, text, thing)
	refused(t, "another key", err)
	_, err = v.VerifyBundle(ctx, text, other)
	refused(t, "another digest", err)
	_, err = v.VerifyBundle(ctx, make([]byte, MaxBundle+1), thing)
	refused(t, "large", err)
	plain, err := v.VerifyBundle(ctx, signBundle(t, SignaturePredicateType, nil), thing)
	if err != nil || strings.Contains(string(plain), `"predicate":`) {
		t.Errorf("plain signature: %s, %v", plain, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := v.VerifyBundle(ended, text, thing); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

// TestBundlesThatMisfit changes one thing of a good bundle at a time.
func TestBundlesThatMisfit(t *testing.T) {
	good := string(signBundle(t, SignaturePredicateType, nil))
	hint := loaded().Public().hint()
	for name, change := range map[string][2]string{
		"version 0.2":       {"bundle.v0.3+json", "bundle+json;version=0.2"},
		"version 0.4":       {"bundle.v0.3+json", "bundle.v0.4+json"},
		"hint of another":   {hint, base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"certificate":       {`"publicKey":{"hint":"` + hint + `"}`, `"certificate":{"rawBytes":"MAA="}`},
		"no material":       {`"publicKey":{"hint":"` + hint + `"}`, ``},
		"payload type":      {`"payloadType":"application/vnd.in-toto+json"`, `"payloadType":"application/json"`},
		"two signatures":    {`"signatures":[{`, `"signatures":[{"sig":"MAA="},{`},
		"no signature":      {`"signatures":[{`, `"signatures":[],"x":[{`},
		"unknown field":     {`"mediaType"`, `"more":1,"mediaType"`},
		"doubled envelope":  {`"dsseEnvelope"`, `"dsseEnvelope":{"payload":""},"dsseEnvelope"`},
		"message signature": {`"dsseEnvelope":`, `"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":""},"signature":""},"was":`},
		"text after it":     {`}}`, `}} {}`},
		"depth":             {`"mediaType"`, `"more":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `,"mediaType"`},
		"a million entries": {`"publicKey":`, `"tlogEntries":[{}` + strings.Repeat(",{}", 1<<20) + `],"publicKey":`},
		"many signatures":   {`"signatures":[{`, `"signatures":[` + strings.Repeat("{},", 1<<20) + `{`},
		"half":              {good[len(good)/2:], ""},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing changed in %s", name, good)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := loaded().Public().VerifyBundle(context.Background(), []byte(bad), thing)
		runtime.ReadMemStats(&after)
		refused(t, name, err)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(8*len(bad)+1<<20) {
			t.Errorf("%s: %d bytes of bundle took %d of memory", name, len(bad), took)
		}
	}
	if _, err := loaded().Public().VerifyBundle(context.Background(), []byte(strings.Replace(good, hint, "", 1)), thing); err != nil {
		t.Errorf("a bundle without a hint: %v", err)
	}
}

// TestCertificateInBundle: a certificate of one's own making in the bundle must not stand in for the key.
func TestCertificateInBundle(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	forger, err := newKey(private)
	if err != nil {
		t.Fatal(err)
	}
	statement, err := Statement("", thing, SignaturePredicateType, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := forger.SignBundle(context.Background(), statement)
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Replace(string(text), `"publicKey":{"hint":"`+forger.Public().hint()+`"}`, `"certificate":{"rawBytes":"`+base64.StdEncoding.EncodeToString(cert)+`"}`, 1)
	_, err = loaded().Public().VerifyBundle(context.Background(), []byte(own), thing)
	refused(t, "certificate", err)
	both := strings.Replace(own, `"certificate"`, `"publicKey":{"hint":""},"certificate"`, 1)
	_, err = loaded().Public().VerifyBundle(context.Background(), []byte(both), thing)
	refused(t, "certificate and hint", err)
}

func TestStatements(t *testing.T) {
	for name, predicate := range map[string]string{"no JSON": "x", "half": `{"a":`, "two": `{} {}`} {
		if _, err := Statement("n", thing, SPDXPredicateType, []byte(predicate)); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Statement("n", "md5:00", SPDXPredicateType, nil); err == nil {
		t.Error("a digest of md5 is taken")
	}
	b, err := Statement("saiga", thing, "t", []byte("{\n  \"a\": [ 1 ]\n}\n"))
	if err != nil || !json.Valid(b) || !strings.HasSuffix(string(b), `"predicate":{"a":[1]}}`) {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := loaded().SignBundle(context.Background(), []byte(`{"_type":"x"}`)); fault.KindOf(err) != fault.Input {
		t.Errorf("a foreign statement is signed: %v", err)
	}
	if _, _, err := loaded().SignLegacy("r", "sha256:0", nil); err == nil {
		t.Error("half a digest is signed")
	}
	if _, _, err := loaded().SignLegacy(strings.Repeat("r", MaxPayload), thing, nil); err == nil {
		t.Error("a payload that nobody would read is signed")
	}
}

// TestKindsOfKeys signs and verifies with each kind of key that cosign imports.
func TestKindsOfKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, private := range map[string]any{"P-384": p384, "RSA": rsaKey, "Ed25519": edwards} {
		k, err := newKey(private)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v, err := LoadPublic(k.Public().PEM())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, signature, err := k.SignLegacy("r", thing, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := v.VerifyLegacy(text, signature, thing); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		statement, err := Statement("", thing, SignaturePredicateType, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.SignBundle(context.Background(), statement)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := v.VerifyBundle(context.Background(), b, thing); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)})
	v, err := LoadPublic(old)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := newKey(rsaKey); err != nil || k.String() != v.String() {
		t.Errorf("one key, two fingerprints: %v, %v, %v", k, v, err)
	}
}
