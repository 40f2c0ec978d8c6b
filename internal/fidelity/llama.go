package fidelity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// message is one turn of a dialogue.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// dialogue puts a system prompt, if there is one, before a question.
func dialogue(system, question string) []message {
	turns := []message{{"user", question}}
	if system != "" {
		turns = append([]message{{"system", system}}, turns...)
	}
	return turns
}

// props is what `/props` says that matters (llama.cpp, tools/server/README.md).
type props struct {
	Defaults struct {
		Params  map[string]json.RawMessage
		Context int `json:"n_ctx"`
	} `json:"default_generation_settings"`
	Slots    int    `json:"total_slots"`
	Weights  string `json:"model_ftype"` // older servers say nothing
	Template string `json:"chat_template"`
	BOS      string `json:"bos_token"`
	EOS      string `json:"eos_token"`
	Build    string `json:"build_info"`
}

// render applies the server's chat template.
func (s *service) render(ctx context.Context, turns []message) (string, error) {
	var out struct{ Prompt *string }
	if err := s.call(ctx, "/apply-template", map[string]any{"messages": turns}, &out); err != nil {
		return "", err
	}
	if out.Prompt == nil {
		return "", fmt.Errorf("ask %s: /apply-template: no prompt", s.name)
	}
	return *out.Prompt, nil
}

// tokenize splits text as the start of a prompt, with special tokens taken for what they are.
func (s *service) tokenize(ctx context.Context, text string) ([]int, error) {
	var out struct{ Tokens []int }
	err := s.call(ctx, "/tokenize", map[string]any{"content": text, "add_special": true, "parse_special": true}, &out)
	return out.Tokens, err
}

// reply is what a completion gives.
type reply struct {
	Content       string
	Tokens        []int
	Probabilities []struct {
		Top []struct {
			ID      int
			LogProb float64 `json:"logprob"`
		} `json:"top_logprobs"`
	} `json:"completion_probabilities"`
}

// complete goes on from a prompt, a text or tokens. One slot and no prompt cache: over slots and batches llama.cpp does
// not repeat itself.
func (s *service) complete(ctx context.Context, prompt any, settings map[string]any) (r reply, err error) {
	body := map[string]any{"temperature": 0, "prompt": prompt, "cache_prompt": false, "id_slot": 0, "return_tokens": true, "stream": false}
	for k, v := range settings {
		body[k] = v
	}
	return r, s.call(ctx, "/completion", body, &r)
}

// next returns the top likeliest tokens after a prefix, best first.
func (s *service) next(ctx context.Context, prefix []int, top int) ([]Choice, error) {
	r, err := s.complete(ctx, prefix, map[string]any{"n_predict": 1, "n_probs": top})
	if err != nil {
		return nil, err
	}
	if len(r.Probabilities) != 1 || len(r.Probabilities[0].Top) == 0 {
		return nil, errors.New("the server tells no probabilities (n_probs)")
	}
	var list []Choice
	for _, t := range r.Probabilities[0].Top {
		list = append(list, Choice{t.ID, t.LogProb})
	}
	if list = list[:min(len(list), top)]; !sound(list) {
		return nil, errors.New("the server tells probabilities that are none")
	}
	return list, nil
}
