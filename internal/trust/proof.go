package trust

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sign"
)

// Forms of a signature.
const (
	Bundle   = "bundle"   // sigstore's, a referrer
	Legacy   = "legacy"   // simple signing, under a tag
	Envelope = "envelope" // DSSE under a tag, cosign's attestations before bundles
)

// Limits on what is read before anything is proven.
const (
	maxSignatures = 64       // documents of one appliance
	maxProofs     = 96 << 20 // bytes of them
)

// proof is a document that holds for a key.
type proof struct {
	key       *sign.Verifier
	form      string
	kind      string // predicate type; sign.SignaturePredicateType for legacy signatures
	statement []byte // nil for legacy signatures
}

// proofs are the documents about one index, and why others of them do not count.
type proofs struct {
	held    []proof
	refused []error
	bytes   int64
	seen    int
}

// gather reads everything that claims to be signed about an index. What does not hold for one of the keys is set aside;
// what is not even the bytes that its descriptor says is an error.
func gather(ctx context.Context, s artifact.Store, index digest.Digest, keys []*sign.Verifier) (*proofs, error) {
	p := &proofs{}
	found, err := s.Referrers(ctx, index)
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		if d.ArtifactType == sign.BundleMediaType {
			if err := p.bundle(ctx, s, d, index, keys); err != nil {
				return nil, err
			}
		}
	}
	for _, suffix := range []string{".sig", ".att"} {
		if err := p.tagged(ctx, s, index, suffix, keys); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// take counts a document before it is read.
func (p *proofs) take(d v1.Descriptor, limit int64) error {
	p.seen++
	p.bytes += d.Size
	if d.Size > limit || p.seen > maxSignatures || p.bytes > maxProofs {
		return fault.Mark(fault.Untrusted, fmt.Errorf("signatures: more than %d, or %d bytes of them: somebody floods the appliance", maxSignatures, maxProofs))
	}
	return nil
}

func (p *proofs) bundle(ctx context.Context, s artifact.Store, d v1.Descriptor, index digest.Digest, keys []*sign.Verifier) error {
	if err := p.take(v1.Descriptor{}, 0); err != nil {
		return err
	}
	text, err := artifact.ReadReferrer(ctx, s, d, index, sign.BundleMediaType, min(sign.MaxBundle, maxProofs-p.bytes))
	if err != nil {
		return err
	}
	p.bytes += int64(len(text))
	p.try(keys, func(key *sign.Verifier) (proof, error) {
		statement, err := key.VerifyBundle(ctx, text, index)
		return proof{form: Bundle, statement: statement}, err
	})
	return nil
}

// tagged reads what cosign keeps under a tag: each layer of that image is a document.
func (p *proofs) tagged(ctx context.Context, s artifact.Store, index digest.Digest, suffix string, keys []*sign.Verifier) error {
	m, err := readTagged(ctx, s, artifact.TagOf(index, suffix))
	if err != nil || m == nil {
		return err
	}
	for _, l := range m.Layers {
		limit := int64(sign.MaxBundle)
		if suffix == ".sig" {
			limit = sign.MaxPayload
		}
		if err := p.take(l, limit); err != nil {
			return err
		}
		text, err := artifact.ReadBlob(ctx, s, l, limit)
		if err != nil {
			return err
		}
		p.try(keys, func(key *sign.Verifier) (proof, error) {
			if l.MediaType == sign.PayloadMediaType {
				_, err := key.VerifyLegacy(text, l.Annotations[sign.SignatureAnnotation], index)
				return proof{form: Legacy, kind: sign.SignaturePredicateType}, err
			}
			statement, err := key.VerifyEnvelope(ctx, text, index)
			return proof{form: Envelope, statement: statement}, err
		})
	}
	return nil
}

// readTagged returns the manifest under a tag, nil if there is none.
func readTagged(ctx context.Context, s artifact.Store, tag string) (*artifact.Document, error) {
	d, err := s.Resolve(ctx, tag)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	return artifact.Decode(raw, d)
}

// try holds a document against each key.
func (p *proofs) try(keys []*sign.Verifier, verify func(*sign.Verifier) (proof, error)) {
	for _, key := range keys {
		one, err := verify(key)
		if err == nil && one.kind == "" {
			var a sign.Attestation
			if a, err = sign.ParseStatement(one.statement); err == nil {
				one.kind = a.PredicateType
			}
		}
		if err != nil {
			p.refused = append(p.refused, err)
			continue
		}
		one.key = key
		p.held = append(p.held, one)
	}
}

// of returns the proofs of a kind.
func (p *proofs) of(kind string) (list []proof) {
	for _, one := range p.held {
		if one.kind == kind {
			list = append(list, one)
		}
	}
	return list
}
