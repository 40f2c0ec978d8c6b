package model

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/mode"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/llama"
	"github.com/agibake/agibake/internal/wire"
)

// TestE2EModel talks to the real llama.cpp in the modes of a state.
func TestE2EModel(t *testing.T) {
	referee.E2E(t)
	root := t.TempDir()
	if err := llama.State(root); err != nil {
		t.Fatal(err)
	}
	tree := llama.Need(t)
	c := client(t, tree.Serve(t, llama.Plain, root), Options{})
	modes, err := mode.Open(root, wire.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := modes.Switch(t.Context(), "SHORT")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(m mode.Mode) Answer {
		t.Helper()
		words := ""
		a, err := c.Chat(t.Context(), Request{Messages: hello.Messages, Mode: m, Params: mode.Sampling{Temperature: new(0.0), Seed: new(uint32(1))}},
			func(delta string) error { words += delta; return nil })
		if err != nil || a.Text == "" || a.Text != words || a.Tokens < 2 || a.PromptTokens < 2 || a.Finish == "" || a.Rate() <= 0 || a.Build == "" {
			t.Errorf("%+v, %v", a, err)
		}
		return a
	}
	short, plain := ask(m), ask(mode.Mode{})
	if short.PromptTokens <= plain.PromptTokens || ask(m).Text != short.Text {
		t.Errorf("the mode makes no difference, or it does not repeat itself: %+v, %+v", short, plain)
	}
	if p, err := c.Props(t.Context()); err != nil || p.Slots != 1 || p.Context != 2048 || p.Build == "" || !strings.Contains(p.Template, "<|user|>") {
		t.Errorf("%+v, %v", p, err)
	}
	if tokens, err := c.Tokenize(t.Context(), "Кто ты?"); err != nil || len(tokens) == 0 {
		t.Errorf("%v, %v", tokens, err)
	}
	if _, err := c.Chat(t.Context(), Request{Messages: []Message{{"user", strings.Repeat("слово ", 20000)}}}, nil); err != nil && fault.KindOf(err) != fault.Input {
		t.Errorf("a long prompt: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.Chat(ctx, hello, func(string) error { cancel(); return ctx.Err() })
	if !errors.Is(err, context.Canceled) || c.Probe(t.Context()).State != Up {
		t.Errorf("%v, %+v", err, c.Health())
	}
	proxied(t, c, m, short)
}

// proxied requires that the pass-through gives the same words as Chat.
func proxied(t *testing.T, c *Client, m mode.Mode, want Answer) {
	url, records := door(t, c, m)
	for _, stream := range []string{"true", "false"} {
		res, text := post(t, url, `{"stream":`+stream+`,"temperature":0,"messages":[{"role":"user","content":"Кто ты?"}]}`)
		x := receive(t, records, "the record")
		if res.StatusCode != 200 || x.Err != nil || x.Answer.Text != want.Text || x.Answer.Tokens != want.Tokens || x.Answer.PromptTokens != want.PromptTokens {
			t.Errorf("%s %+v\n%s", res.Status, x, text)
		}
	}
	if res, text := post(t, url, `{"messages":[{"role":5}]}`); res.StatusCode/100 != 4 || !strings.Contains(text, `"message"`) {
		t.Errorf("%s %s", res.Status, text)
	}
}
