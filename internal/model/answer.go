package model

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/mode"
)

// Answer is what the model said. Where an exchange failed it holds what came before.
type Answer struct {
	Text         string        `json:"text"`
	Reasoning    string        `json:"reasoning,omitempty"` // what it thought before, where the template tells that apart
	Tokens       int           `json:"tokens"`              // of the answer
	PromptTokens int           `json:"promptTokens"`
	Finish       string        `json:"finish,omitempty"` // stop, length, tool_calls; "" where the end did not come
	Seed         uint32        `json:"seed"`
	Params       mode.Sampling `json:"params"` // as they were sent
	Model        string        `json:"model,omitempty"`
	Build        string        `json:"build,omitempty"` // of the server
	Timings      Timings       `json:"timings"`
}

// Timings are an exchange's times. Prompt and Predict are the server's own, 0 where it does not tell.
type Timings struct {
	Wait    time.Duration `json:"wait"`  // for a slot
	First   time.Duration `json:"first"` // from the request to the first word
	Total   time.Duration `json:"total"` // from the request to the end
	Prompt  time.Duration `json:"prompt"`
	Predict time.Duration `json:"predict"`
	Cached  int           `json:"cached"` // tokens of the prompt that were known
}

// Rate returns tokens a second, 0 where it is not known.
func (a Answer) Rate() float64 {
	if a.Tokens < 2 || a.Timings.Predict <= 0 { // for a single token llama.cpp tells absurd times
		return 0
	}
	return float64(a.Tokens) / a.Timings.Predict.Seconds()
}

// words are the parts of a message that are read here.
type words struct {
	Content   string
	Reasoning string `json:"reasoning_content"`
}

// reply is one event of a stream, with Delta, or a whole answer, with Message.
type reply struct {
	Choices []struct {
		Index   int
		Delta   words
		Message words
		Finish  string `json:"finish_reason"`
	}
	Usage *struct {
		Tokens  int `json:"completion_tokens"`
		Prompt  int `json:"prompt_tokens"`
		Details struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
	Timings *struct {
		Cached    int     `json:"cache_n"`
		Prompt    int     `json:"prompt_n"`
		PromptMS  float64 `json:"prompt_ms"`
		Tokens    int     `json:"predicted_n"`
		PredictMS float64 `json:"predicted_ms"`
	}
	Model string
	Build string `json:"system_fingerprint"`
	Error json.RawMessage
	apiError
}

// gathering is an answer as it grows.
type gathering struct {
	*Answer
	text, reasoning strings.Builder
}

// put makes the words so far the answer's.
func (g *gathering) put() { g.Text, g.Reasoning = g.text.String(), g.reasoning.String() }

// add takes one event, or a whole answer, and returns the words that are new. Of several choices it takes the first.
func (g *gathering) add(event []byte) (string, error) {
	var r reply
	if err := json.Unmarshal(event, &r); err != nil {
		return "", fmt.Errorf("%w: %w: %s", ErrBroken, err, short(string(event[:min(len(event), 1000)])))
	}
	if (r.Error != nil && string(r.Error) != "null") || (r.Choices == nil && r.Message != "") {
		return "", fmt.Errorf("%w: %s", ErrBroken, message(event))
	}
	if r.Choices == nil && r.Usage == nil && r.Timings == nil && !bytes.Contains(event, []byte(`"prompt_progress"`)) {
		return "", fmt.Errorf("%w: neither words nor an end: %s", ErrBroken, short(string(event[:min(len(event), 1000)])))
	}
	g.count(&r)
	delta := ""
	for _, c := range r.Choices {
		if c.Index == 0 {
			delta += c.Delta.Content + c.Message.Content
			g.reasoning.WriteString(c.Delta.Reasoning + c.Message.Reasoning)
			g.Finish = cmp.Or(c.Finish, g.Finish)
		}
	}
	g.text.WriteString(delta)
	return delta, nil
}

func (a *Answer) count(r *reply) {
	if r.Model != "" {
		a.Model, a.Build = r.Model, r.Build
	}
	if t := r.Timings; t != nil {
		a.Tokens, a.PromptTokens, a.Timings.Cached = t.Tokens, t.Prompt+t.Cached, t.Cached
		a.Timings.Prompt, a.Timings.Predict = ms(t.PromptMS), ms(t.PredictMS)
	}
	if u := r.Usage; u != nil {
		a.Tokens, a.PromptTokens, a.Timings.Cached = u.Tokens, u.Prompt, u.Details.Cached
	}
}

func ms(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
