package sign

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
)

// envelope is of DSSE 1.0.
type envelope struct {
	PayloadType string          `json:"payloadType"`
	Payload     string          `json:"payload"`
	Signatures  json.RawMessage `json:"signatures"`
}

// maxAround limits what stands around the statement, in bytes. It is parsed before any signature is verified, and long
// lists of small objects would take fifty times their size in memory.
const maxAround = 64 << 10

// statement returns the payload of an envelope that stands in text, when it is an in-toto statement and all base64 is
// strict.
func (e envelope) statement(text []byte) ([]byte, error) {
	if around := len(text) - len(e.Payload); around > maxAround {
		return nil, fmt.Errorf("%d bytes around its statement are too many", around)
	}
	if e.PayloadType != StatementMediaType {
		return nil, fmt.Errorf("a payload of type %.100q, not %s", e.PayloadType, StatementMediaType)
	}
	var signatures []struct {
		Sig string `json:"sig"`
	}
	if err := json.Unmarshal(e.Signatures, &signatures); err != nil {
		return nil, fmt.Errorf("signatures: %w", err)
	}
	for _, s := range signatures {
		if _, err := decode(s.Sig); err != nil {
			return nil, fmt.Errorf("signature: %w", err)
		}
	}
	b, err := decode(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return b, nil
}

// VerifyEnvelope verifies a DSSE envelope, cosign's form of attestations before bundles, as VerifyBundle does.
func (v *Verifier) VerifyEnvelope(ctx context.Context, text []byte, d digest.Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	statement, err := v.verifyEnvelope(ctx, text, d)
	if err != nil {
		return nil, untrustedf("attestation of %s: %w", d, err)
	}
	return statement, nil
}

func (v *Verifier) verifyEnvelope(ctx context.Context, text []byte, d digest.Digest) ([]byte, error) {
	if len(text) > MaxBundle {
		return nil, fmt.Errorf("%d bytes are too many", len(text))
	}
	hash, err := sha256Hash(d)
	if err != nil {
		return nil, err
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	statement, err := e.statement(text)
	if err != nil {
		return nil, err
	}
	att, err := static.NewAttestation(text)
	if err != nil {
		return nil, err
	}
	if _, err := cosign.VerifyBlobAttestation(ctx, att, hash, v.options(cosign.IntotoSubjectClaimVerifier)); err != nil {
		return nil, fmt.Errorf("it does not hold for key %s: %w", v, err)
	}
	_, err = ParseStatement(statement)
	return statement, err
}
