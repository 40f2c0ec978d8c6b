package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/mode"
)

// fields is a request of OpenAI's API, with all that is not known here.
type fields map[string]json.RawMessage

// Transform returns what applies a mode to a request of OpenAI's API (chat completions). The mode's prompt goes before
// what the client says; sampling that the client states wins; stop words add up; the mode's maxTokens is a ceiling; tools
// that the mode does not allow are taken out. A seed and a limit (tokens, for where nobody set one) make sure that the
// exchange can be run again and ends. Errors are of kind Input.
func Transform(m mode.Mode, limit int) func([]byte) ([]byte, error) {
	return func(body []byte) ([]byte, error) {
		f := fields{}
		if err := json.Unmarshal(body, &f); err != nil || f == nil {
			return nil, fault.Mark(fault.Input, errors.New("expected a JSON object"))
		}
		for _, apply := range []func(mode.Mode) error{f.applyPrompt, f.applyStop, f.applyTools, f.applyTokens(limit)} {
			if err := apply(m); err != nil {
				return nil, fault.Mark(fault.Input, err)
			}
		}
		f.applySampling(m)
		return json.Marshal(f)
	}
}

// get reads a field; null is as good as none.
func (f fields) get(key string, into any) (bool, error) {
	raw, there := f[key]
	if !there || string(raw) == "null" {
		return false, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, fmt.Errorf("%s: %w", key, err)
	}
	return true, nil
}

func (f fields) set(key string, value any) {
	if raw, err := json.Marshal(value); err == nil {
		f[key] = raw
	}
}

func (f fields) applyPrompt(m mode.Mode) error {
	var list []json.RawMessage
	if there, err := f.get("messages", &list); err != nil || !there || len(list) == 0 {
		return errors.Join(errors.New("messages: expected a list with at least one"), err)
	}
	var first struct {
		Role    string
		Content json.RawMessage
	}
	if err := json.Unmarshal(list[0], &first); err != nil {
		return fmt.Errorf("messages: %w", err)
	}
	if m.SystemPrompt == "" {
		return nil
	}
	var text string
	var parts []json.RawMessage
	system := map[string]any{"role": "system", "content": m.SystemPrompt}
	switch {
	case first.Role != "system" && first.Role != "developer":
		list = slices.Insert(list, 0, nil)
	case json.Unmarshal(first.Content, &text) == nil:
		system["content"] = joined(m.SystemPrompt, text)
	case json.Unmarshal(first.Content, &parts) == nil:
		part, _ := json.Marshal(map[string]string{"type": "text", "text": m.SystemPrompt + "\n\n"})
		system["content"] = slices.Insert(parts, 0, json.RawMessage(part))
	default:
		return errors.New("messages: the first one's content is neither a text nor a list")
	}
	raw, err := json.Marshal(system)
	if err != nil {
		return err
	}
	list[0] = raw
	f.set("messages", list)
	return nil
}

// applyStop: the API takes one word or a list.
func (f fields) applyStop(m mode.Mode) error {
	var list []string
	if _, err := f.get("stop", &list); err != nil {
		var one string
		if _, err := f.get("stop", &one); err != nil {
			return errors.New("stop: expected a text or a list of texts")
		}
		list = []string{one}
	}
	for _, s := range m.Stop {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if len(list) > 0 {
		f.set("stop", list)
	}
	return nil
}

func (f fields) applySampling(m mode.Mode) {
	s := settingsOf(m.Sampling)
	s.Stop, s.MaxTokens = nil, nil // done
	raw, _ := json.Marshal(s)
	mine := fields{}
	json.Unmarshal(raw, &mine)
	if s.Seed == nil {
		mine.set("seed", rand.Uint32N(mode.MaxSeed))
	}
	var seed float64
	if there, err := f.get("seed", &seed); there && err == nil && (seed < 0 || seed > mode.MaxSeed) {
		delete(f, "seed") // the server's words for "draw one", which nobody would know
	}
	for key, value := range mine {
		if old, there := f[key]; !there || string(old) == "null" {
			f[key] = value
		}
	}
}
