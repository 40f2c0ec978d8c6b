package fidelity

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

const (
	settingsFile    = "boot/settings.json"
	startupFile     = "boot/startup.txt"
	maxSettings     = 4 << 20 // bytes
	defaultGreeting = "Who are you?"
)

// Mode is a way of thinking that the settings name.
type Mode struct {
	Name     string `json:"name"`
	Prompt   string `json:"prompt"`   // system prompt
	Settings string `json:"settings"` // sha256 of all of the mode's settings; "" where only the prompt is known
}

// settings are what level 2 and 3 need of the state.
type settings struct {
	modes    []Mode // by name
	question string // the greeting's; "" is none
	known    bool   // whether anybody told the modes
}

// readSettings reads `modes` and `startup.greeting` of boot/settings.json, and else takes boot/startup.txt as the greeting.
func readSettings(root *os.Root) (s settings, err error) {
	s.known = true
	data, err := readSmall(root, settingsFile)
	if err != nil {
		return s, err
	}
	var file struct {
		Modes   map[string]json.RawMessage
		Startup struct{ Greeting string }
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &file); err != nil {
			return s, bad("read %s: %w", settingsFile, err)
		}
	}
	for name, raw := range file.Modes {
		var v map[string]any
		if err := json.Unmarshal(raw, &v); err != nil {
			return s, bad("read mode %.80q of %s: %w", name, settingsFile, err)
		}
		prompt, _ := v["systemPrompt"].(string)
		canonical, err := json.Marshal(v) // keys in order, no spaces
		if err != nil {
			return s, err
		}
		s.modes = append(s.modes, Mode{name, prompt, sum(canonical)})
	}
	s.sort()
	startup, err := readSmall(root, startupFile)
	s.question = cmp.Or(file.Startup.Greeting, strings.TrimSpace(string(startup)))
	return s, err
}

// given are the settings of a caller who knows the modes.
func given(modes map[string]string, question string) settings {
	s := settings{known: true, question: question}
	for name, prompt := range modes {
		s.modes = append(s.modes, Mode{Name: name, Prompt: prompt})
	}
	s.sort()
	return s
}

func (s settings) sort() {
	slices.SortFunc(s.modes, func(a, b Mode) int { return cmp.Compare(a.Name, b.Name) })
}

// readSmall returns nothing for a file that is not there.
func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err == nil && len(data) > maxSettings {
		err = bad("%s is larger than %d bytes", name, maxSettings)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
