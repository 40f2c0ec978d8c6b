// Package sign makes and verifies signatures as cosign does, with keys on disk and without any network: cosign's legacy
// simple signing, and sigstore bundles (version 0.3, a DSSE envelope around an in-toto statement). It knows bytes and
// digests only; where signatures are kept is others' affair.
//
// Verification runs through cosign's own library code. Transparency logs and certificate authorities play no part: a
// signature is worth what its key is worth.
package sign

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/agibake/agibake/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
)

// Media types of what this package makes.
const (
	BundleMediaType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	StatementMediaType = "application/vnd.in-toto+json"
	// PayloadMediaType is of the layer that holds a legacy payload; its signature stands in SignatureAnnotation.
	PayloadMediaType    = "application/vnd.dev.cosign.simplesigning.v1+json"
	SignatureAnnotation = "dev.cosignproject.cosign/signature"
	// EnvelopeMediaType is of the layer that holds a DSSE envelope, cosign's attestations before bundles.
	EnvelopeMediaType = "application/vnd.dsse.envelope.v1+json"
)

// Annotations of a bundle's manifest, as cosign writes them.
const (
	AnnotationContent   = "dev.sigstore.bundle.content"
	AnnotationPredicate = "dev.sigstore.bundle.predicateType"
)

// Types of statements and of what they say.
const (
	StatementType           = "https://in-toto.io/Statement/v1"
	SignaturePredicateType  = "https://sigstore.dev/cosign/sign/v1" // says nothing but that the digest is signed
	SPDXPredicateType       = "https://spdx.dev/Document"
	ProvenancePredicateType = "https://slsa.dev/provenance/v1"
)

// Upper limits of what is parsed, in bytes.
const (
	MaxBundle    = 32 << 20 // an SBOM can be large
	MaxPayload   = 64 << 10
	MaxKey       = 64 << 10
	maxSignature = 16 << 10
)

// untrustedf returns an error of verification.
func untrustedf(format string, args ...any) error {
	return fault.Mark(fault.Untrusted, fmt.Errorf(format, args...))
}

// sha256Hash returns d as cosign wants it. Other algorithms are refused: cosign's claims are of SHA-256.
func sha256Hash(d digest.Digest) (v1.Hash, error) {
	if err := d.Validate(); err != nil {
		return v1.Hash{}, fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return v1.Hash{}, fmt.Errorf("digest %s: want sha256", d)
	}
	return v1.Hash{Algorithm: "sha256", Hex: d.Encoded()}, nil
}

var errBase64 = errors.New("not canonical base64")

// decode reads base64 of which there is only one way to write the bytes. The library's decoders also take line breaks
// and stray bits, so that a flipped bit could go unnoticed.
func decode(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodedLen(len(b)) != len(s) {
		return nil, errBase64
	}
	return b, nil
}
