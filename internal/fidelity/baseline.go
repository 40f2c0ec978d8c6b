package fidelity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// schema is the baseline's format; another one is refused.
const schema = "agibake.fidelity/v1"

// MediaType is the baseline's type as a layer of an OCI artifact that refers to a snapshot.
const MediaType = "application/vnd.agibake.fidelity.v1+json"

// Baseline is what was found of a mind. It holds its words (prompts, answers, passages of its memory), so it is to be kept
// as confidential as the state. A level that was not asked is nil.
type Baseline struct {
	Schema   string    `json:"schema"`
	Recorded time.Time `json:"recorded"` // UTC, whole seconds
	Origin   Origin    `json:"origin"`
	Bytes    *Bytes    `json:"bytes,omitempty"`
	Start    *Start    `json:"start,omitempty"`
	Greeting *Greeting `json:"greeting,omitempty"`
	Style    *Style    `json:"style,omitempty"`
	Memory   *Memory   `json:"memory,omitempty"`
}

// Origin is what a mind ran on.
type Origin struct {
	Build    string `json:"build"`    // of llama.cpp, "" is unknown
	Hardware string `json:"hardware"` // "" is unknown
}

// like says whether both compute with the same build on the same hardware, as far as is known.
func (o Origin) like(p Origin) bool { return o == p && o.Build != "" && o.Hardware != "" }

// Limits of a baseline. They bound the memory that a hostile one can take.
const (
	maxBaseline = 16 << 20 // bytes
	maxObjects  = 200_000  // opening braces and brackets
	maxItems    = 2 << 20  // commas
)

// Encode writes b in its one form: the same baseline gives the same bytes.
func (b *Baseline) Encode() ([]byte, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode baseline: %w", err)
	}
	data = append(data, '\n')
	return data, inLimits(data)
}

// DecodeBaseline reads what Encode writes, and nothing else: errors have kind Input.
func DecodeBaseline(data []byte) (*Baseline, error) {
	if err := inLimits(data); err != nil {
		return nil, err
	}
	b := new(Baseline)
	if err := json.Unmarshal(data, b); err != nil {
		return nil, bad("decode baseline: %w", err)
	}
	if err := b.validate(); err != nil {
		return nil, err
	}
	// One form alone: no unknown, double or differently spelled key, nothing behind the end.
	if again, err := b.Encode(); err != nil || !bytes.Equal(again, data) {
		return nil, bad("decode baseline: not in the form that is written by record")
	}
	return b, nil
}

func inLimits(data []byte) error {
	objects := bytes.Count(data, []byte("{")) + bytes.Count(data, []byte("["))
	if items := bytes.Count(data, []byte(",")); len(data) > maxBaseline || objects > maxObjects || items > maxItems {
		return bad("baseline: %d bytes, %d objects and %d items are more than a baseline has", len(data), objects, items)
	}
	return nil
}

func bad(format string, args ...any) error {
	return fault.Mark(fault.Input, fmt.Errorf(format, args...))
}
