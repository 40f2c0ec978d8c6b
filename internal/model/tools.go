package model

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/agibake/agibake/internal/mode"
)

func (f fields) applyTools(m mode.Mode) error {
	if m.Tools == nil {
		return nil
	}
	type tool struct{ Function struct{ Name string } }
	var list, kept []json.RawMessage
	if _, err := f.get("tools", &list); err != nil {
		return errors.New("tools: expected a list")
	}
	for _, raw := range list {
		var t tool
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("tools: %w", err)
		}
		if m.Allows(t.Function.Name) {
			kept = append(kept, raw)
		}
	}
	var choice tool
	if json.Unmarshal(f["tool_choice"], &choice) == nil && choice.Function.Name != "" && !m.Allows(choice.Function.Name) {
		return fmt.Errorf("tool_choice: mode %s does not allow %.80q", m.Name, choice.Function.Name)
	}
	if len(kept) > 0 {
		f.set("tools", kept)
		return nil
	}
	for _, key := range []string{"tools", "tool_choice", "parallel_tool_calls"} {
		delete(f, key)
	}
	return nil
}

// applyTokens: a limit has three names, of which the server takes any.
func (f fields) applyTokens(limit int) func(mode.Mode) error {
	return func(m mode.Mode) error {
		ceiling, stated := limit, false
		if m.MaxTokens != nil {
			ceiling = *m.MaxTokens
		}
		for _, key := range []string{"max_tokens", "max_completion_tokens", "n_predict"} {
			var n float64
			there, err := f.get(key, &n)
			if err != nil {
				return fmt.Errorf("%s: expected a number", key)
			}
			if there && n >= 0 && (m.MaxTokens == nil || n <= float64(ceiling)) {
				stated = true
			} else if there {
				f.set(key, ceiling)
				stated = true
			}
		}
		if !stated {
			f.set("max_tokens", ceiling)
		}
		return nil
	}
}
