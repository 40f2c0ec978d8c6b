package sign

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
)

// fuzzKey is the same in all of a fuzzer's processes, so that the seeds hold in each: what still verifies after a change
// must say what was signed.
func fuzzKey(f *testing.F) *Key {
	f.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	k, err := newKey(private)
	if err != nil {
		f.Fatal(err)
	}
	return k
}

func FuzzVerifyBundle(f *testing.F) {
	k := fuzzKey(f)
	v := k.Public()
	want, err := Statement("", thing, SPDXPredicateType, []byte(`{"a":[1,{"b":null}]}`))
	if err != nil {
		f.Fatal(err)
	}
	good, err := k.SignBundle(context.Background(), want)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := v.VerifyBundle(context.Background(), good, thing); err != nil {
		f.Fatal(err)
	}
	envelope, err := dsse.WrapSigner(k.signer, StatementMediaType).SignMessage(bytes.NewReader(want))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add(envelope)
	f.Add([]byte(`{"mediaType":"` + BundleMediaType + `","verificationMaterial":{"publicKey":{"hint":""},"tlogEntries":[{}]},"dsseEnvelope":{"payload":"","payloadType":"` + StatementMediaType + `","signatures":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, verify := range []func(context.Context, []byte) ([]byte, error){
			func(ctx context.Context, b []byte) ([]byte, error) { return v.VerifyBundle(ctx, b, thing) },
			func(ctx context.Context, b []byte) ([]byte, error) { return v.VerifyEnvelope(ctx, b, thing) },
		} {
			switch got, err := verify(context.Background(), text); {
			case err == nil && !bytes.Equal(got, want):
				t.Errorf("forged: %s", got)
			case err != nil && (fault.KindOf(err) != fault.Untrusted || got != nil):
				t.Errorf("%v with %q", err, got)
			}
		}
	})
}

func FuzzVerifyLegacy(f *testing.F) {
	k := fuzzKey(f)
	payload, signature, err := k.SignLegacy("r", thing, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload, signature)
	f.Add([]byte(`{"critical":{}}`), "")
	f.Add(payload[1:], signature[:len(signature)-4])
	v := k.Public()
	f.Fuzz(func(t *testing.T, text []byte, sig string) {
		claims, err := v.VerifyLegacy(text, sig, thing)
		if err == nil && !bytes.Equal(text, payload) {
			t.Errorf("forged: %s %s", text, sig)
		}
		if err != nil && (fault.KindOf(err) != fault.Untrusted || claims.Digest != "" || claims.Optional != nil) {
			t.Errorf("%v with %+v", err, claims)
		}
	})
}

func FuzzLoadPublic(f *testing.F) {
	f.Add(pair().public)
	f.Add(pair().private)
	f.Add([]byte("-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := LoadPublic(text)
		if err != nil {
			if v != nil || fault.KindOf(err) != fault.Input {
				t.Errorf("%v with %v", err, v)
			}
			return
		}
		again, err := LoadPublic(v.PEM())
		if err != nil || again.String() != v.String() {
			t.Errorf("%q: %v, then %v: %v", text, v, again, err)
		}
	})
}

func FuzzLoadPrivate(f *testing.F) {
	f.Add(pair().private)
	f.Add(pair().public)
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := LoadPrivate(text, []byte(wrongPassword)); err == nil || k != nil || fault.KindOf(err) != fault.Input {
			t.Errorf("%v, %v", k, err)
		}
	})
}
