package fidelity

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/agibake/agibake/internal/trace"
)

// Trace is one line of a recorded exchange (docs/fidelity.md, "Traces"). Exactly one of Messages and Prompt is there, and
// at least one of Answer and Tokens.
type Trace struct {
	ID       string          `json:"id,omitempty"`
	Time     string          `json:"time,omitempty"`    // of the exchange; not used
	Mode     string          `json:"mode,omitempty"`    // not used: Messages hold its system prompt
	Model    string          `json:"model,omitempty"`   // digest of the weights; not used
	Timings  json.RawMessage `json:"timings,omitempty"` // not used
	Source   string          `json:"source,omitempty"`  // not used
	Role     string          `json:"role,omitempty"`    // of who asked; not used
	Redacted bool            `json:"redacted,omitempty"`
	Error    string          `json:"error,omitempty"` // then there may be no question and no answer
	Messages []message       `json:"messages,omitempty"`
	Prompt   string          `json:"prompt,omitempty"` // after the chat template
	Settings Settings        `json:"settings"`
	Answer   string          `json:"answer,omitempty"`
	Tokens   []int           `json:"tokens,omitempty"` // of the answer
}

// Settings are what an answer depends on beside the words, as the agent writes them.
type Settings = trace.Settings

const maxPredict = 4096 // tokens of a trace without a limit

// parseTrace is strict: an unknown key may be a setting that the answer depended on.
func parseTrace(line []byte) (t Trace, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, bad("%w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return t, bad("something behind the trace")
	}
	if (len(t.Messages) > 0) == (t.Prompt != "") && (t.Error == "" || t.Prompt != "") {
		return t, bad("a trace has either messages or a prompt")
	}
	for _, m := range t.Messages {
		if m.Role != "system" && m.Role != "user" && m.Role != "assistant" {
			return t, bad("role %.40q: only system, user and assistant are known", m.Role)
		}
	}
	if t.Answer == "" && len(t.Tokens) == 0 && t.Error == "" {
		return t, bad("a trace without an answer")
	}
	if n := t.Settings.Predict; n != nil && (*n < -1 || *n > maxTokens) {
		return t, bad("n_predict %d: at most %d", *n, maxTokens)
	}
	return t, nil
}

// unrepeatable says why the answer cannot come again, or "". llama.cpp's own default is a temperature above 0 with a random
// seed.
func (t Trace) unrepeatable() string {
	greedy := t.Settings.Temperature != nil && *t.Settings.Temperature <= 0
	switch {
	case t.Error != "":
		return "it failed: " + t.Error
	case t.Redacted:
		return "a secret was removed from it"
	case !greedy && t.Settings.Seed == nil:
		return "sampled with a temperature and no seed"
	}
	return ""
}

// request is the part of a completion's body that the trace settles.
func request(s Settings) (map[string]any, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	body := map[string]any{}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, err
	}
	delete(body, "temperature")
	body["temperature"] = s.Temperature // null is the server's default
	if s.Predict == nil || *s.Predict < 0 {
		body["n_predict"] = maxPredict
	}
	return body, nil
}

// question is the last thing that was asked, for a person.
func (t Trace) question() string {
	if n := len(t.Messages); n > 0 {
		return t.Messages[n-1].Content
	}
	return t.Prompt
}
