package mode

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// nameForm is what the recipe asks of a name, too.
var nameForm = regexp.MustCompile(`^\p{L}[\p{L}\p{N}_-]{0,31}$`)

// key is a key of a mode with what reads its value.
type key struct {
	name string
	set  func(*Mode, json.RawMessage) error
}

// known are a mode's keys in the order in which they are written.
var known = []key{
	{"systemPrompt", setPrompt},
	{"temperature", number(0, 2, func(m *Mode) **float64 { return &m.Temperature })},
	{"topP", number(0, 1, func(m *Mode) **float64 { return &m.TopP })},
	{"topK", number(0, 1<<20, func(m *Mode) **int { return &m.TopK })},
	{"minP", number(0, 1, func(m *Mode) **float64 { return &m.MinP })},
	{"repeatPenalty", number(0, 10, func(m *Mode) **float64 { return &m.RepeatPenalty })},
	{"seed", number(0, MaxSeed, func(m *Mode) **uint32 { return &m.Seed })},
	{"maxTokens", number(1, 1<<20, func(m *Mode) **int { return &m.MaxTokens })},
	{"stop", words(maxStop, func(m *Mode) *[]string { return &m.Stop })},
	{"tools", words(maxTools, func(m *Mode) *[]string { return &m.Tools })},
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

func setPrompt(m *Mode, raw json.RawMessage) error {
	m.SystemPrompt = ""
	if json.Unmarshal(raw, &m.SystemPrompt) != nil {
		return errors.New("expected a text")
	}
	return nil
}

// number sets a number, or with null leaves it to the model server.
func number[T int | uint32 | float64](low, high T, at func(*Mode) **T) func(*Mode, json.RawMessage) error {
	return func(m *Mode, raw json.RawMessage) error {
		*at(m) = nil
		if isNull(raw) {
			return nil
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("expected a number between %v and %v", low, high)
		}
		if v < low || v > high {
			return fmt.Errorf("%v is not between %v and %v", v, low, high)
		}
		*at(m) = &v
		return nil
	}
}

func words(most int, at func(*Mode) *[]string) func(*Mode, json.RawMessage) error {
	return func(m *Mode, raw json.RawMessage) error {
		*at(m) = nil
		var list []*string
		if json.Unmarshal(raw, &list) != nil {
			return errors.New("expected a list of texts")
		}
		if len(list) > most {
			return fmt.Errorf("%d texts, at most %d", len(list), most)
		}
		for _, s := range list {
			if s == nil || *s == "" || len(*s) > maxWord {
				return fmt.Errorf("expected texts of 1 to %d bytes", maxWord)
			}
			*at(m) = append(*at(m), *s)
		}
		if *at(m) == nil && !isNull(raw) {
			*at(m) = []string{}
		}
		return nil
	}
}

// check finds what could not be read back. Its errors have no kind yet.
func (m Mode) check() error {
	if !nameForm.MatchString(m.Name) {
		return fmt.Errorf("mode %.80q: expected a name that begins with a letter, of letters, digits, _ and -", m.Name)
	}
	for _, s := range slices.Concat([]string{m.SystemPrompt}, m.Stop, m.Tools) {
		if !utf8.ValidString(s) {
			return fmt.Errorf("mode %s: %.40q is no UTF-8", m.Name, strings.ToValidUTF8(s, "�"))
		}
	}
	values, err := m.values()
	if err != nil {
		return fmt.Errorf("mode %s: %w", m.Name, err)
	}
	for _, k := range known {
		if raw, there := values[k.name]; there {
			if err := k.set(&m, raw); err != nil {
				return fmt.Errorf("mode %s: %s: %w", m.Name, k.name, err)
			}
		}
	}
	return nil
}
