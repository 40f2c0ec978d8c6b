// Package mode keeps the modes of a mind: system prompt, sampling, stop words and tools, from the recipe and from
// boot/settings.json, and which of them is the current one. docs/modes.md explains the files.
package mode

import (
	"cmp"
	"slices"
)

// Mode is a way of thinking. The zero Mode is the model as it is.
type Mode struct {
	Name         string   `json:"name"`
	SystemPrompt string   `json:"systemPrompt"`
	Tools        []string `json:"tools,omitzero"` // names of the tools allowed; nil allows all, an empty list none
	Sampling
}

// Sampling says how the next word is chosen. What is nil is the model server's own.
type Sampling struct {
	Temperature   *float64 `json:"temperature,omitempty"`   // 0 to 2; 0 always takes the likeliest word
	TopP          *float64 `json:"topP,omitempty"`          // 0 to 1
	TopK          *int     `json:"topK,omitempty"`          // 0 is no limit
	MinP          *float64 `json:"minP,omitempty"`          // 0 to 1
	RepeatPenalty *float64 `json:"repeatPenalty,omitempty"` // 0 to 10; 1 is none
	Seed          *uint32  `json:"seed,omitempty"`          // up to 4294967294
	MaxTokens     *int     `json:"maxTokens,omitempty"`     // of an answer
	Stop          []string `json:"stop,omitzero"`           // words that end an answer; at most 16
}

// Bounds of what settings may hold.
const (
	maxModes = 256
	maxStop  = 16
	maxWord  = 256       // bytes of a stop word or a tool's name
	maxTools = 256       // names
	MaxSeed  = 1<<32 - 2 // the largest seed; llama.cpp takes the next one for "random"
)

// Over returns s with what it does not say taken from base.
func (s Sampling) Over(base Sampling) Sampling {
	s.Temperature = cmp.Or(s.Temperature, base.Temperature)
	s.TopP = cmp.Or(s.TopP, base.TopP)
	s.TopK = cmp.Or(s.TopK, base.TopK)
	s.MinP = cmp.Or(s.MinP, base.MinP)
	s.RepeatPenalty = cmp.Or(s.RepeatPenalty, base.RepeatPenalty)
	s.Seed = cmp.Or(s.Seed, base.Seed)
	s.MaxTokens = cmp.Or(s.MaxTokens, base.MaxTokens)
	if s.Stop == nil {
		s.Stop = base.Stop
	}
	return s
}

// Allows says whether the mode lets the model use a tool.
func (m Mode) Allows(tool string) bool { return m.Tools == nil || slices.Contains(m.Tools, tool) }

// clone lets callers change what they got.
func (m Mode) clone() Mode {
	m.Tools, m.Stop = slices.Clone(m.Tools), slices.Clone(m.Stop)
	return m
}
