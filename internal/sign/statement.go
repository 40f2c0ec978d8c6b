package sign

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/agibake/agibake/internal/fault"
	"github.com/opencontainers/go-digest"
)

// Attestation is an in-toto statement, parsed.
type Attestation struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate,omitempty"` // nil where there is none
}

// Subject is a thing that a statement is about.
type Subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // algorithm → hex
}

// Statement returns the in-toto statement (Statement v1) that says predicate of the thing with digest d, as compact
// JSON. The predicate is JSON and kept byte for byte but for blanks between its tokens; nil means none, as in
// cosign's plain signatures.
func Statement(name string, d digest.Digest, predicateType string, predicate []byte) ([]byte, error) {
	hash, err := sha256Hash(d)
	if err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	a := Attestation{
		Type:          StatementType,
		Subject:       []Subject{{name, map[string]string{hash.Algorithm: hash.Hex}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // of the predicate's text too
	if err := e.Encode(a); err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("make statement about %s: %w", d, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ParseStatement reads an in-toto statement of version 0.1 or 1. Errors are of kind fault.Input.
func ParseStatement(text []byte) (Attestation, error) {
	var a Attestation
	if err := json.Unmarshal(text, &a); err != nil {
		return Attestation{}, fault.Mark(fault.Input, fmt.Errorf("read in-toto statement: %w", err))
	}
	if a.Type != StatementType && a.Type != "https://in-toto.io/Statement/v0.1" {
		return Attestation{}, fault.Mark(fault.Input, fmt.Errorf("read in-toto statement: it is of type %.100q", a.Type))
	}
	return a, nil
}
