package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/sign"
)

// SignOptions are how Sign works.
type SignOptions struct {
	Reference string   // what legacy signatures call the appliance: HOST/REPOSITORY
	Forms     []string // Bundle, Legacy
}

// Subject is what is signed: the index of an appliance or of a snapshot.
type Subject struct {
	Index         v1.Descriptor
	Name, Version string // for a person
	Created       time.Time
}

// Of is the subject that an appliance is.
func Of(a *artifact.Appliance) Subject { return Subject{a.Index, a.Name, a.Version, a.Created} }

// Sign signs an index, and in bundles its SBOM and provenance where it has them, and returns what was made;
// what the key signed before is not signed again. The signature comes last: who finds it finds the attestations.
func Sign(ctx context.Context, s artifact.Store, a Subject, key *sign.Key, o SignOptions) (made []string, err error) {
	w := &signing{s: s, a: a, key: key, o: o}
	if w.found, err = gather(ctx, s, a.Index.Digest, []*sign.Verifier{key.Public()}); err == nil {
		for _, form := range o.Forms {
			switch form {
			case Bundle:
				err = w.bundles(ctx)
			case Legacy:
				err = w.legacy(ctx)
			default:
				err = fmt.Errorf("no such form of signature: %q", form)
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		return w.made, fmt.Errorf("sign %s %s: %w", a.Name, a.Version, err)
	}
	return w.made, nil
}

type signing struct {
	s     artifact.Store
	a     Subject
	key   *sign.Key
	o     SignOptions
	found *proofs
	made  []string
}

func (w *signing) bundles(ctx context.Context) error {
	index := w.a.Index.Digest
	for _, kind := range attested {
		d, err := artifact.FindReferrer(ctx, w.s, index, kind.referrer)
		if errors.Is(err, artifact.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		document, err := artifact.ReadReferrer(ctx, w.s, d, index, kind.referrer, sign.MaxBundle)
		if err != nil {
			return err
		}
		if held := w.found.of(kind.predicate); len(held) > 0 && same(held[0], document) {
			continue
		}
		statement := document // provenance is a statement already
		if kind.name == SBOM {
			if statement, err = sign.Statement(w.name(), index, kind.predicate, document); err != nil {
				return err
			}
		}
		if err := w.bundle(ctx, kind.name, kind.predicate, statement); err != nil {
			return err
		}
	}
	for _, one := range w.found.of(sign.SignaturePredicateType) {
		if one.form == Bundle {
			return nil
		}
	}
	statement, err := sign.Statement(w.name(), index, sign.SignaturePredicateType, nil)
	if err != nil {
		return err
	}
	return w.bundle(ctx, "signature", sign.SignaturePredicateType, statement)
}

func (w *signing) name() string { return w.a.Name + "-" + w.a.Version }

// bundle signs a statement about the index and keeps it as a referrer of it.
func (w *signing) bundle(ctx context.Context, name, predicate string, statement []byte) error {
	text, err := w.key.SignBundle(ctx, statement)
	if err != nil {
		return err
	}
	if _, err := w.key.Public().VerifyBundle(ctx, text, w.a.Index.Digest); err != nil { // a statement about something else
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = artifact.PutReferrer(ctx, w.s, w.a.Index, artifact.Referrer{
		Type: sign.BundleMediaType, Title: name + ".sigstore.json", Data: text,
		Annotations: map[string]string{sign.AnnotationContent: "dsse-envelope", sign.AnnotationPredicate: predicate},
	})
	if err == nil {
		w.made = append(w.made, name+" ("+Bundle+")")
	}
	return err
}

// legacy adds a layer to the image of signatures under the index's tag. Signatures by other keys stay.
func (w *signing) legacy(ctx context.Context) error {
	for _, one := range w.found.of(sign.SignaturePredicateType) {
		if one.form == Legacy {
			return nil
		}
	}
	tag := artifact.TagOf(w.a.Index.Digest, ".sig")
	var layers []v1.Descriptor
	if m, err := readTagged(ctx, w.s, tag); err != nil {
		return err
	} else if m != nil {
		layers = m.Layers
	}
	text, signature, err := w.key.SignLegacy(w.o.Reference, w.a.Index.Digest, nil)
	if err != nil {
		return err
	}
	layers = append(layers, v1.Descriptor{MediaType: sign.PayloadMediaType, Digest: digest.FromBytes(text), Size: int64(len(text)),
		Annotations: map[string]string{sign.SignatureAnnotation: signature}})
	if err := w.s.PutBlob(ctx, layers[len(layers)-1], bytes.NewReader(text)); err != nil {
		return err
	}
	if err := w.image(ctx, layers, tag); err != nil {
		return err
	}
	w.made = append(w.made, "signature ("+Legacy+")")
	return nil
}

// image writes an image of nothing but signatures.
func (w *signing) image(ctx context.Context, layers []v1.Descriptor, tag string) error {
	config := v1.Image{RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
	}
	raw, d, err := artifact.Encode(v1.MediaTypeImageConfig, config)
	if err == nil {
		err = w.s.PutBlob(ctx, d, bytes.NewReader(raw))
	}
	if err != nil {
		return err
	}
	raw, d, err = artifact.Encode(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: d, Layers: layers})
	if err != nil {
		return err
	}
	return w.s.PutManifest(ctx, d, raw, tag)
}
