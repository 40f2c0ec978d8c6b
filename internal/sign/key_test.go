package sign

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

var template = x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}

func TestKeyPair(t *testing.T) {
	private, public := pair().private, pair().public
	if !bytes.HasPrefix(private, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")) {
		t.Errorf("private key begins %.60q", private)
	}
	v, err := LoadPublic(public)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(public)
	sum := sha256.Sum256(block.Bytes)
	if got := loaded().Public(); got.String() != v.String() || v.Fingerprint() != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprints %s, %s, want %x", got, v, sum)
	}
	if !bytes.Equal(v.PEM(), public) {
		t.Errorf("PEM %s, want %s", v.PEM(), public)
	}
	for _, form := range []string{strings.ReplaceAll(string(public), "\n", "\r\n"), strings.TrimSuffix(string(public), "\n")} {
		if _, err := LoadPublic([]byte(form)); err != nil {
			t.Errorf("%q: %v", form, err)
		}
	}
}

func TestOpenSSLReadsThePublicKey(t *testing.T) {
	c := referee.Command(t, "openssl", "pkey", "-pubin", "-outform", "DER")
	c.Stdin = bytes.NewReader(pair().public)
	der, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(der); loaded().Public().Fingerprint() != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint %s, openssl's %x", loaded().Public().Fingerprint(), sum)
	}
}

// TestOpenSSLVerifiesTheSignatures builds what is signed from docs/signing.md alone.
func TestOpenSSLVerifiesTheSignatures(t *testing.T) {
	payload, signature := signLegacy(t)
	opensslVerifies(t, payload, signature)
	var b struct {
		Envelope struct {
			Payload    []byte `json:"payload"`
			Signatures []struct {
				Sig string `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(signBundle(t, SPDXPredicateType, []byte(`{"a":1}`)), &b); err != nil {
		t.Fatal(err)
	}
	signed := fmt.Sprintf("DSSEv1 28 application/vnd.in-toto+json %d %s", len(b.Envelope.Payload), b.Envelope.Payload)
	opensslVerifies(t, []byte(signed), b.Envelope.Signatures[0].Sig)
}

func opensslVerifies(t *testing.T, signed []byte, signature string) {
	t.Helper()
	dir := t.TempDir()
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"pub": pair().public, "sig": raw, "good": signed, "bad": append(bytes.Clone(signed), ' ')} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"good": true, "bad": false} {
		c := referee.Command(t, "openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", name)
		c.Dir = dir
		if out, err := c.CombinedOutput(); (err == nil) != want {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestNothingPrintsAPrivateKey(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKey(private)
	if err != nil {
		t.Fatal(err)
	}
	d, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb+" "+verb, k, struct{ K *Key }{k})
		for _, secret := range []string{hex.EncodeToString(d), new(big.Int).SetBytes(d).String(), string(d), fmt.Sprint(d)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s prints it: %s", verb, text)
			}
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	private, public := pair().private, pair().public
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := x509.MarshalPKCS8PrivateKey(strong)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text    []byte
		private bool // read as one
		says    string
	}{
		"wrong password":        {private, true, "wrong password"},
		"public as private":     {public, true, "this is a public key"},
		"private as public":     {private, false, "this is a private key"},
		"nothing":               {nil, true, "no PEM file"},
		"nothing public":        {nil, false, "no PEM file"},
		"not encrypted":         {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bare}), true, "not encrypted"},
		"certificate":           {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bare}), false, "no public key"},
		"other block":           {pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: bare}), true, "no private key of cosign's"},
		"not even JSON":         {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: bare}), true, "no encrypted key"},
		"blank in the JSON":     {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte(`{ }`)}), true, "damaged"},
		"two keys":              {append(bytes.Clone(public), public...), false, "damaged, or more"},
		"text before":           {append([]byte("mine\n"), public...), false, "damaged, or more"},
		"too long":              {make([]byte, MaxKey+1), false, "too many"},
		"RSA 1024":              {pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&weak.PublicKey)}), false, "weak"},
		"scrypt that takes all": {sealedWith(t, `"N":65536`, `"N":1073741824`), true, "wrong password, or the file is damaged"},
	} {
		var err error
		if c.private {
			_, err = LoadPrivate(c.text, []byte(wrongPassword))
		} else {
			_, err = LoadPublic(c.text)
		}
		if fault.KindOf(err) != fault.Input || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v, kind %d, want %q", name, err, fault.KindOf(err), c.says)
		}
		keepsSecrets(t, name, fmt.Sprint(err)+fault.HintOf(err))
	}
	if _, err := LoadPrivate(private, []byte(wrongPassword)); fault.HintOf(err) == "" {
		t.Error("a wrong password comes without advice")
	}
}

// sealedWith changes the JSON inside the private key.
func sealedWith(t *testing.T, from, to string) []byte {
	t.Helper()
	block, _ := pem.Decode(pair().private)
	changed := bytes.Replace(block.Bytes, []byte(from), []byte(to), 1)
	if bytes.Equal(changed, block.Bytes) {
		t.Fatalf("%s is not in %s", from, block.Bytes)
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: changed})
}

// flips calls test with two bits flipped, one at a time, in every step-th byte: one that differs from byte to byte, and
// the one between small and large letters, which JSON readers tend to overlook.
func flips(text []byte, step int, test func(changed []byte, at string)) {
	for i := 0; i < len(text); i += step {
		for _, bit := range []int{i / step % 5, 5} {
			b := bytes.Clone(text)
			b[i] ^= 1 << bit
			test(b, fmt.Sprintf("byte %d, bit %d", i, bit))
		}
	}
}

func TestFlippedBitsOfSignatures(t *testing.T) {
	v := loaded().Public()
	text, signature := signLegacy(t)
	flips(text, 1, func(b []byte, at string) {
		_, err := v.VerifyLegacy(b, signature, thing)
		refused(t, "payload, "+at, err)
	})
	flips([]byte(signature), 1, func(b []byte, at string) {
		_, err := v.VerifyLegacy(text, string(b), thing)
		refused(t, "signature, "+at, err)
	})
	flips(signBundle(t, SignaturePredicateType, nil), 1, func(b []byte, at string) {
		_, err := v.VerifyBundle(context.Background(), b, thing)
		refused(t, "bundle, "+at, err)
	})
	large := signBundle(t, SPDXPredicateType, []byte(`{"a":"`+strings.Repeat("x", 1<<18)+`"}`))
	flips(large, len(large)/20, func(b []byte, at string) {
		_, err := v.VerifyBundle(context.Background(), b, thing)
		refused(t, "large bundle, "+at, err)
	})
}

func TestFlippedBitsOfKeys(t *testing.T) {
	text, signature := signLegacy(t)
	flips(pair().public, 1, func(b []byte, at string) {
		if v, err := LoadPublic(b); err == nil {
			_, err = v.VerifyLegacy(text, signature, thing)
			t.Errorf("public key, %s: it became %s, which says %v", at, v, err)
		}
	})
	// Most flips are seen at once; those inside the sealed bytes cost a derivation each.
	i := 0
	flips(pair().private, 1, func(b []byte, at string) {
		if block, err := onlyBlock(b); err == nil && checkSealed(block.Bytes) == nil {
			if i++; i%60 != 0 {
				return
			}
		}
		if _, err := LoadPrivate(b, []byte(password)); fault.KindOf(err) != fault.Input {
			t.Errorf("private key, %s: %v", at, err)
		}
	})
	if i < 200 {
		t.Errorf("only %d flips reach the sealed bytes", i)
	}
}
