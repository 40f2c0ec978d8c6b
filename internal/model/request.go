package model

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/mode"
)

// Message is one turn of a dialogue.
type Message struct {
	Role    string `json:"role"` // system, user, assistant
	Content string `json:"content"`
}

// Request is one exchange.
type Request struct {
	Messages []Message
	Mode     mode.Mode     // its prompt goes before the messages
	Params   mode.Sampling // over the mode's
}

// compose returns the messages with the mode's prompt, and the sampling with a seed and an end, so that the exchange can
// be run again. Templates know one system message, at the beginning.
func (r Request) compose(limit int) ([]Message, mode.Sampling, error) {
	if len(r.Messages) == 0 {
		return nil, mode.Sampling{}, fault.Mark(fault.Input, fmt.Errorf("ask the model: no messages"))
	}
	messages := r.Messages
	if prompt := r.Mode.SystemPrompt; prompt != "" {
		first := Message{"system", prompt}
		if messages[0].Role == "system" {
			first.Content, messages = joined(prompt, messages[0].Content), messages[1:]
		}
		messages = append([]Message{first}, messages...)
	}
	return messages, complete(r.Params.Over(r.Mode.Sampling), limit), nil
}

func joined(prompt, more string) string {
	return strings.TrimSuffix(prompt+"\n\n"+more, "\n\n")
}

func complete(s mode.Sampling, limit int) mode.Sampling {
	if s.Seed == nil {
		s.Seed = new(rand.Uint32N(mode.MaxSeed))
	}
	if s.MaxTokens == nil {
		s.MaxTokens = &limit
	}
	return s
}

// body is the request as llama.cpp takes it.
func body(messages []Message, s mode.Sampling) ([]byte, error) {
	return json.Marshal(struct {
		Messages []Message `json:"messages"`
		Stream   bool      `json:"stream"`
		settings
	}{messages, true, settingsOf(s)})
}

// settings is the sampling in the server's words.
type settings struct {
	Temperature   *float64 `json:"temperature,omitempty"`
	TopP          *float64 `json:"top_p,omitempty"`
	TopK          *int     `json:"top_k,omitempty"`
	MinP          *float64 `json:"min_p,omitempty"`
	RepeatPenalty *float64 `json:"repeat_penalty,omitempty"`
	Seed          *uint32  `json:"seed,omitempty"`
	MaxTokens     *int     `json:"max_tokens,omitempty"`
	Stop          []string `json:"stop,omitempty"`
}

func settingsOf(s mode.Sampling) settings {
	return settings{s.Temperature, s.TopP, s.TopK, s.MinP, s.RepeatPenalty, s.Seed, s.MaxTokens, s.Stop}
}
