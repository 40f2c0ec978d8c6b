package trust

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sign"
)

// Verdict says what was proven of an appliance. Name, version and date are shown to a person, who thereby sees an old
// appliance that stands under a new tag.
type Verdict struct {
	Repository   string        `json:"repository"`
	Name         string        `json:"name"`
	Version      string        `json:"version"`
	Created      time.Time     `json:"created"`
	Digest       digest.Digest `json:"digest"` // of the index
	Signatures   []Signature   `json:"signatures"`
	Attestations []string      `json:"attestations"` // of SBOM and Provenance, those that a key signed

	SBOM, Provenance []byte `json:"-"` // the signed documents: SPDX, and the in-toto statement
}

// Signature is one that holds.
type Signature struct {
	Form string `json:"form"` // bundle or legacy
	Key  string `json:"key"`  // sha256:FINGERPRINT
}

// attested are the kinds of attestation by their names in a policy.
var attested = []struct{ name, predicate, referrer string }{
	{SBOM, sign.SPDXPredicateType, artifact.TypeSPDX},
	{Provenance, sign.ProvenancePredicateType, artifact.TypeInToto},
}

// Verify decides whether an appliance or a snapshot from a repository may be used: by the first rule of the policy that matches, one of
// its keys must have signed the index, which holds the digests of all that it consists of, and the
// attestations that the rule demands. Errors that mean "no" are of kind fault.Untrusted.
func Verify(ctx context.Context, s artifact.Store, a Subject, repository string, p *Policy) (*Verdict, error) {
	v, err := verify(ctx, s, a, repository, p)
	if err != nil {
		return nil, fmt.Errorf("verify %s %s: %w", a.Name, a.Version, err)
	}
	return v, nil
}

func verify(ctx context.Context, s artifact.Store, a Subject, repository string, p *Policy) (*Verdict, error) {
	rule, err := p.rule(repository)
	if err != nil {
		return nil, err
	}
	found, err := gather(ctx, s, a.Index.Digest, rule.verifiers)
	if err != nil {
		return nil, err
	}
	v := &Verdict{Repository: repository, Name: a.Name, Version: a.Version, Created: a.Created, Digest: a.Index.Digest, Attestations: []string{}}
	for _, one := range found.of(sign.SignaturePredicateType) {
		v.Signatures = append(v.Signatures, Signature{one.form, one.key.String()})
	}
	if len(v.Signatures) == 0 {
		return nil, unsigned(found)
	}
	for _, kind := range attested {
		document, err := attestation(ctx, s, a, found.of(kind.predicate), kind.referrer)
		if err != nil {
			return nil, err
		}
		if document == nil {
			continue
		}
		v.Attestations = append(v.Attestations, kind.name)
		if kind.name == SBOM {
			v.SBOM = document
		} else {
			v.Provenance = document
		}
	}
	return v, rule.allows(v)
}

// unsigned says why no signature counts.
func unsigned(p *proofs) error {
	err := errors.New("it is not signed")
	hint := "agibake sign signs it, if it is yours; --insecure-skip-verify uses it all the same"
	switch {
	case len(p.refused) > 0:
		err = fmt.Errorf("none of its signatures is by a trusted key: %w", p.refused[0])
		hint = "name the right public key with --key"
	case len(p.held) > 0:
		err = errors.New("it has attestations, but no signature")
	}
	return fault.Hint(fault.Mark(fault.Untrusted, err), hint)
}

// attestation returns the document that was signed; nil if none was. Where such documents stand beside the appliance
// unsigned, one of them must be the signed one.
func attestation(ctx context.Context, s artifact.Store, a Subject, signed []proof, referrer string) ([]byte, error) {
	if len(signed) == 0 {
		return nil, nil
	}
	all, err := s.Referrers(ctx, a.Index.Digest)
	if err != nil {
		return nil, err
	}
	plain := false
	for _, d := range all {
		if d.ArtifactType != referrer {
			continue
		}
		plain = true
		document, err := artifact.ReadReferrer(ctx, s, d, a.Index.Digest, referrer, sign.MaxBundle)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(signed, func(one proof) bool { return same(one, document) }) {
			return document, nil
		}
	}
	if plain {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("the %s beside it is not the one that was signed", referrer))
	}
	return said(signed[0])
}

// said is the document of an attestation: the predicate, or for provenance the statement.
func said(one proof) ([]byte, error) {
	if one.kind == sign.ProvenancePredicateType {
		return one.statement, nil
	}
	st, err := sign.ParseStatement(one.statement)
	return st.Predicate, err
}

// same tells whether a document is the one that was signed, but for blanks between its tokens.
func same(one proof, document []byte) bool {
	want, err := said(one)
	if err != nil {
		return false
	}
	var x, y bytes.Buffer
	return json.Compact(&x, want) == nil && json.Compact(&y, document) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// allows applies what a rule demands beyond a signature.
func (r *Rule) allows(v *Verdict) error {
	refuse := func(format string, args ...any) error {
		return fault.Mark(fault.Untrusted, fmt.Errorf(format+": the policy for "+v.Repository+" demands more", args...))
	}
	for _, name := range r.Attestations {
		if !slices.Contains(v.Attestations, name) {
			return refuse("no trusted key signed its %s", name)
		}
	}
	if len(r.Names) > 0 && !slices.Contains(r.Names, v.Name) {
		return refuse("appliance %q is not among the names allowed there", v.Name)
	}
	if r.MinimumVersion == "" {
		return nil
	}
	if !isVersion(v.Version) {
		return refuse("version %q cannot be compared with %s", v.Version, r.MinimumVersion)
	}
	if older(v.Version, r.MinimumVersion) {
		return refuse("version %s is older than %s", v.Version, r.MinimumVersion)
	}
	return nil
}

// Everything lists the blobs of an appliance and of the documents that refer to it, manifests apart.
func Everything(ctx context.Context, s artifact.Store, a *artifact.Appliance) ([]v1.Descriptor, error) {
	blobs := a.Blobs()
	found, err := s.Referrers(ctx, a.Index.Digest)
	if err != nil {
		return nil, err
	}
	for _, suffix := range []string{".sig", ".att"} {
		d, err := s.Resolve(ctx, artifact.TagOf(a.Index.Digest, suffix))
		if err == nil {
			found = append(found, d)
		} else if !errors.Is(err, artifact.ErrNotFound) {
			return nil, err
		}
	}
	for _, d := range found {
		raw, err := s.Manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		m, err := artifact.Decode(raw, d)
		if err != nil {
			return nil, err
		}
		if m.Config != nil {
			blobs = append(blobs, *m.Config)
		}
		blobs = append(blobs, m.Layers...)
	}
	return blobs, nil
}
