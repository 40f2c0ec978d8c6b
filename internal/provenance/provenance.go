// Package provenance writes and finds the record of how an appliance was made: an in-toto Statement v1 with an SLSA
// Provenance v1 predicate. docs/formats.md documents its build type.
package provenance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/lock"
)

// What the statement says it is.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
	BuildType     = "https://agibake.org/build/v1" // docs/formats.md, "Provenance"
	Builder       = "https://agibake.org/agibake"
)

// Input is what a statement is made of. Everything in it reaches the bytes.
type Input struct {
	Lock        *lock.Lock
	LockDigest  string // hex
	Appliance   *artifact.Appliance
	Formats     []string
	Compression string // of qcow2
	Certificate string // SHA-256 of what signs the OVA, hex; "" for nothing
	Key         string // the bake's key: equal keys, equal outputs
	Tool        string // version of agibake
	Programs    []Program
}

// Program is one of ours that took part.
type Program struct {
	Name   string
	SHA256 string // hex
}

// MaxSize is the most bytes that a statement may have.
const MaxSize = 32 << 20

const title = "provenance.json"

// Statement is in-toto's (in-toto/attestation, spec/v1/statement.md).
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Resource is a ResourceDescriptor (spec/v1/resource_descriptor.md).
type Resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Predicate is SLSA Provenance v1.
type Predicate struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition says what was to be made, and of what.
type BuildDefinition struct {
	BuildType    string             `json:"buildType"`
	External     ExternalParameters `json:"externalParameters"`
	Internal     InternalParameters `json:"internalParameters"`
	Dependencies []Resource         `json:"resolvedDependencies"`
}

// ExternalParameters are what a person asked for.
type ExternalParameters struct {
	Recipe      Resource `json:"recipe"`
	Formats     []string `json:"formats"`
	Compression string   `json:"compression"`
	Certificate string   `json:"ovaCertificate,omitempty"` // SHA-256 of the PEM file, hex
}

// InternalParameters are what agibake made of it.
type InternalParameters struct {
	Lock  Resource `json:"lock"`
	Epoch int64    `json:"epoch"` // the bake's clock, seconds since 1970
}

// RunDetails says who made it.
type RunDetails struct {
	Builder  BuilderInfo `json:"builder"`
	Metadata Metadata    `json:"metadata"`
}

// BuilderInfo names agibake and the programs that it consists of.
type BuilderInfo struct {
	ID           string            `json:"id"`
	Version      map[string]string `json:"version"`
	Dependencies []Resource        `json:"builderDependencies"`
}

// Metadata has no times: a bake is to give the same bytes on any day.
type Metadata struct {
	InvocationID string `json:"invocationId"`
}

// Build returns the statement: equal inputs give equal bytes.
func Build(in Input) ([]byte, error) {
	a := in.Appliance
	s := Statement{Type: StatementType, PredicateType: PredicateType, Subject: subjects(a), Predicate: Predicate{
		BuildDefinition: BuildDefinition{
			BuildType: BuildType,
			External:  ExternalParameters{Recipe: blob("recipe.yaml", a.Recipe), Formats: in.Formats, Compression: in.Compression, Certificate: in.Certificate},
			Internal:  InternalParameters{Lock: blob("recipe.lock", a.Lock), Epoch: in.Lock.Epoch},
		},
		RunDetails: RunDetails{
			Builder:  BuilderInfo{ID: Builder, Version: map[string]string{"agibake": in.Tool}},
			Metadata: Metadata{in.Key},
		},
	}}
	for _, p := range in.Programs {
		s.Predicate.RunDetails.Builder.Dependencies = append(s.Predicate.RunDetails.Builder.Dependencies, Resource{Name: p.Name, Digest: sha256(p.SHA256)})
	}
	s.Predicate.BuildDefinition.Dependencies = materials(in.Lock)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	return out.Bytes(), nil
}

// subjects are the index, the rootfs image and each disk as a file.
func subjects(a *artifact.Appliance) []Resource {
	name := a.Name + "-" + a.Version
	list := []Resource{{Name: name, Digest: digestOf(a.Index.Digest), MediaType: a.Index.MediaType},
		{Name: name + "-rootfs", Digest: digestOf(a.Rootfs.Digest), MediaType: a.Rootfs.MediaType}}
	for _, d := range a.Disks {
		list = append(list, Resource{Name: d.File, Digest: sha256(d.SHA256), MediaType: artifact.TypeDisk(d.Format)})
	}
	return list
}

func blob(name string, d v1.Descriptor) Resource {
	return Resource{Name: name, Digest: digestOf(d.Digest), MediaType: d.MediaType}
}

func digestOf(d digest.Digest) map[string]string { return sha256(d.Encoded()) }

func sha256(hex string) map[string]string { return map[string]string{"sha256": hex} }

// Write stores the statement as a referrer of the appliance's index and returns the referrer's manifest.
func Write(ctx context.Context, s artifact.Store, index v1.Descriptor, statement []byte) (v1.Descriptor, error) {
	return artifact.PutReferrer(ctx, s, index, artifact.Referrer{Type: artifact.TypeInToto, Title: title, Data: statement,
		Annotations: map[string]string{artifact.AnnotationPredicateType: PredicateType}})
}

// Find returns the manifest of the provenance of the index with a digest: artifact.ErrNotFound if it has none.
func Find(ctx context.Context, s artifact.Store, index digest.Digest) (v1.Descriptor, error) {
	return artifact.FindReferrer(ctx, s, index, artifact.TypeInToto)
}

// Read returns the statement about the index with a digest, its digests checked. Whether it is to be believed is for a
// signature to say.
func Read(ctx context.Context, s artifact.Store, index digest.Digest) ([]byte, error) {
	d, err := Find(ctx, s, index)
	if err != nil {
		return nil, err
	}
	return artifact.ReadReferrer(ctx, s, d, index, artifact.TypeInToto, MaxSize)
}
