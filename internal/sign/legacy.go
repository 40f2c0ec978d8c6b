package sign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// Claims is what a legacy signature says.
type Claims struct {
	Digest    digest.Digest
	Reference string            // what the signer called it; empty where it was not said
	Optional  map[string]string // annotations; what is no text stands there as JSON
}

// SignLegacy signs a digest in the simple signing form (containers/image, docs/containers-signature.5.md) as cosign
// writes it. The payload is the layer of the signature's image, the signature, in base64, its SignatureAnnotation.
func (k *Key) SignLegacy(reference string, d digest.Digest, optional map[string]string) (text []byte, signature string, err error) {
	hash, err := sha256Hash(d)
	if err != nil {
		return nil, "", fmt.Errorf("sign: %w", err)
	}
	claim := payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: reference},
		Image:    payload.Image{DockerManifestDigest: hash.String()},
		Type:     payload.CosignSignatureType,
	}}
	if len(optional) > 0 {
		claim.Optional = make(map[string]any, len(optional))
		for key, value := range optional {
			claim.Optional[key] = value
		}
	}
	if text, err = json.Marshal(claim); err != nil {
		return nil, "", fmt.Errorf("sign %s: %w", d, err)
	}
	if len(text) > MaxPayload {
		return nil, "", fmt.Errorf("sign %s: a payload of %d bytes is too long", d, len(text))
	}
	raw, err := k.signer.SignMessage(bytes.NewReader(text))
	if err != nil {
		return nil, "", fmt.Errorf("sign %s: %w", d, err)
	}
	return text, base64.StdEncoding.EncodeToString(raw), nil
}

// VerifyLegacy verifies that the payload was signed by the key and claims the digest d. Errors are of kind
// fault.Untrusted; with one, nothing of the payload is returned.
func (v *Verifier) VerifyLegacy(text []byte, signature string, d digest.Digest) (Claims, error) {
	if len(text) > MaxPayload || len(signature) > maxSignature {
		return Claims{}, untrustedf("signature of %s: %d bytes of payload and %d of signature are too many", d, len(text), len(signature))
	}
	hash, err := sha256Hash(d)
	if err != nil {
		return Claims{}, untrustedf("verify signature: %w", err)
	}
	if _, err := decode(signature); err != nil {
		return Claims{}, untrustedf("signature of %s: %w", d, err)
	}
	sig, err := static.NewSignature(text, signature)
	if err != nil {
		return Claims{}, untrustedf("signature of %s: %w", d, err)
	}
	if _, err := cosign.VerifyImageSignature(context.Background(), sig, hash, v.options(cosign.SimpleClaimVerifier)); err != nil {
		return Claims{}, untrustedf("signature of %s does not hold for key %s: %w", d, v, err)
	}
	var claim payload.SimpleContainerImage
	if err := json.Unmarshal(text, &claim); err != nil {
		return Claims{}, untrustedf("signature of %s: %w", d, err)
	}
	return Claims{d, claim.Critical.Identity.DockerReference, texts(claim.Optional)}, nil
}

// texts writes annotations out as text.
func texts(values map[string]any) map[string]string {
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]string, len(values))
	for key, value := range values {
		if s, ok := value.(string); ok {
			out[key] = s
		} else if b, err := json.Marshal(value); err == nil {
			out[key] = string(b)
		}
	}
	return out
}
