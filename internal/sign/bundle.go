package sign

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	cbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options are of a verification with a key alone: no log, no certificates, no network.
func (v *Verifier) options(claims func(oci.Signature, v1.Hash, map[string]any) error) *cosign.CheckOpts {
	return &cosign.CheckOpts{SigVerifier: v.verifier, ClaimVerifier: claims, IgnoreTlog: true, IgnoreSCT: true, Offline: true}
}

// SignBundle signs an in-toto statement and returns the bundle, compact JSON of at most MaxBundle bytes.
func (k *Key) SignBundle(ctx context.Context, statement []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := ParseStatement(statement); err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	envelope, err := dsse.WrapSigner(k.signer, StatementMediaType).SignMessage(bytes.NewReader(statement), options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	public, err := k.signer.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	text, err := cbundle.MakeNewBundle(public, nil, statement, envelope, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	var b bytes.Buffer // the protocol's own encoder puts blanks in at random
	if err := json.Compact(&b, text); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if b.Len() > MaxBundle {
		return nil, fmt.Errorf("make bundle: %d bytes are more than the %d that are read", b.Len(), MaxBundle)
	}
	return b.Bytes(), nil
}

// view is what a bundle says, beside what other keys and logs say of it.
type view struct {
	MediaType string          `json:"mediaType"`
	Material  json.RawMessage `json:"verificationMaterial"`
	Envelope  envelope        `json:"dsseEnvelope"`
}

// check refuses what the library takes although a byte of it may have been changed.
func (w view) check(v *Verifier) error {
	var material struct {
		PublicKey *struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	}
	if err := json.Unmarshal(w.Material, &material); err != nil {
		return fmt.Errorf("verification material: %w", err)
	}
	switch key := material.PublicKey; {
	case w.MediaType != BundleMediaType:
		return fmt.Errorf("it is of type %.100q, not %s", w.MediaType, BundleMediaType)
	case key == nil:
		return errors.New("it names no public key: a certificate proves nothing here")
	case key.Hint != "" && key.Hint != v.hint():
		return fmt.Errorf("it is of another key than %s", v)
	}
	return nil
}

// VerifyBundle verifies a bundle's signature, and that the signed statement is about the digest d, and returns the
// statement. Entries of transparency logs and timestamps in the bundle are not looked at. Errors are of kind
// fault.Untrusted.
func (v *Verifier) VerifyBundle(ctx context.Context, text []byte, d digest.Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	statement, err := v.verifyBundle(ctx, text, d)
	if err != nil {
		return nil, untrustedf("signature bundle of %s: %w", d, err)
	}
	return statement, nil
}

func (v *Verifier) verifyBundle(ctx context.Context, text []byte, d digest.Digest) ([]byte, error) {
	if len(text) > MaxBundle {
		return nil, fmt.Errorf("%d bytes are too many", len(text))
	}
	hash, err := sha256Hash(d)
	if err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(hash.Hex)
	if err != nil {
		return nil, err
	}
	var w view
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	statement, err := w.Envelope.statement(text)
	if err != nil {
		return nil, err
	}
	if err := w.check(v); err != nil {
		return nil, err
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	// Two readers read the text; they must have seen the same.
	if !bytes.Equal(b.GetDsseEnvelope().GetPayload(), statement) {
		return nil, errors.New("its payload is ambiguous")
	}
	o := v.options(nil)
	o.NewBundleFormat, o.TrustedMaterial = true, &root.BaseTrustedMaterial{}
	if _, err := cosign.VerifyNewBundle(ctx, o, verify.WithArtifactDigest(hash.Algorithm, sum), &b); err != nil {
		return nil, fmt.Errorf("it does not hold for key %s: %w", v, err)
	}
	_, err = ParseStatement(statement)
	return statement, err
}
