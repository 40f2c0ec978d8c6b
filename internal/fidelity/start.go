package fidelity

import (
	"bytes"
	"context"
	"encoding/json"
)

// Start is how the server started: what `/props` says and how it renders dialogues.
type Start struct {
	Template string            `json:"template"` // sha256 of the chat template
	Weights  string            `json:"weights"`  // quantisation by name, "" where the server does not tell
	BOS      string            `json:"bos"`
	EOS      string            `json:"eos"`
	Context  int               `json:"context"` // tokens
	Slots    int               `json:"slots"`
	Sampling map[string]string `json:"sampling"` // the server's defaults, JSON by name
	Known    bool              `json:"known"`    // whether modes and question come from the state
	Modes    []Mode            `json:"modes"`
	Question string            `json:"question"` // the greeting's, from the state
	Rendered []Rendered        `json:"rendered"`
}

// Rendered is a dialogue after the chat template.
type Rendered struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"` // bytes
}

// fixed are the words of the dialogues to be rendered.
const (
	fixedQuestion = "Кто ты? Who are you?"
	fixedAnswer   = "Я тот же, кем был. I am who I was."
	fixedSystem   = "Отвечай кратко. Answer in short."
)

// start waits for the server and asks it how it started. It also returns the server's build.
func (x *examiner) start(ctx context.Context, with settings) (*Start, string, error) {
	if err := x.server.ready(ctx, x.options.Patience); err != nil {
		return nil, "", err
	}
	var p props
	if err := x.server.call(ctx, "/props", nil, &p); err != nil {
		return nil, "", err
	}
	s := &Start{Weights: p.Weights, BOS: p.BOS, EOS: p.EOS, Context: p.Defaults.Context, Slots: p.Slots,
		Known: with.known, Modes: with.modes, Question: with.question, Sampling: map[string]string{}}
	if p.Template != "" {
		s.Template = sum([]byte(p.Template))
	}
	for k, v := range p.Defaults.Params {
		var plain bytes.Buffer // without the spaces that some builds write
		if err := json.Compact(&plain, v); err != nil {
			return nil, "", err
		}
		s.Sampling[k] = plain.String()
	}
	type rendering struct {
		name  string
		turns []message
	}
	list := []rendering{
		{"a question alone", dialogue("", fixedQuestion)},
		{"a dialogue", append(dialogue(fixedSystem, fixedQuestion), message{"assistant", fixedAnswer}, message{"user", fixedQuestion})},
	}
	for _, m := range with.modes {
		list = append(list, rendering{"mode " + m.Name, dialogue(m.Prompt, fixedQuestion)})
	}
	for _, r := range list {
		text, err := x.server.render(ctx, r.turns)
		if err != nil {
			return nil, "", err
		}
		s.Rendered = append(s.Rendered, Rendered{r.name, sum([]byte(text)), len(text)})
	}
	return s, p.Build, nil
}
