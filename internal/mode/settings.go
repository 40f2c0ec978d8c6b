package mode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/fault"
)

const maxFaults = 20 // shown of one file

// settings is what boot/settings.json says, over the recipe's modes.
type settings struct {
	modes    map[string]Mode
	greeting string
	notes    []string // likely slips
}

// reader reads the settings and gathers what is wrong with them.
type reader struct {
	name   string
	text   []byte
	faults []error
	notes  []string
}

// parseSettings reads a settings file over the recipe's modes. Keys that are not known are let be. An error is of kind
// Input and names all faults with line and column; then nothing else is returned.
func parseSettings(name string, text []byte, recipe map[string]Mode) (*settings, error) {
	r := &reader{name: name, text: text}
	s := &settings{modes: maps.Clone(recipe)}
	if s.modes == nil {
		s.modes = map[string]Mode{}
	}
	if r.syntax() {
		for _, m := range r.object(0, "the settings") {
			switch m.key {
			case "modes":
				r.readModes(m, s)
			case "startup":
				r.readStartup(m, s)
			default:
				r.slip(m, "", []string{"modes", "startup"})
			}
		}
	}
	if len(r.faults) > 0 {
		if extra := len(r.faults) - maxFaults; extra > 0 {
			r.faults = append(r.faults[:maxFaults], fmt.Errorf("%s: and %d more", name, extra))
		}
		return nil, fault.Mark(fault.Input, errors.Join(r.faults...))
	}
	s.notes = r.notes
	return s, nil
}

func (r *reader) syntax() bool {
	switch {
	case len(bytes.TrimSpace(r.text)) == 0:
		r.fault(0, "the file is empty, expected at least {}")
		return false
	case !utf8.Valid(r.text):
		i := 0
		for c, n := rune(0), 0; ; i += n {
			if c, n = utf8.DecodeRune(r.text[i:]); c == utf8.RuneError && n == 1 {
				break
			}
		}
		r.fault(i, "no UTF-8")
		return false
	}
	err := json.Unmarshal(r.text, new(json.RawMessage))
	if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
		r.fault(max(0, int(s.Offset)-1), "%w", err)
	}
	return err == nil
}

func (r *reader) readModes(m member, s *settings) {
	list := r.object(m.at, "modes")
	for _, entry := range list {
		if !nameForm.MatchString(entry.key) {
			r.fault(entry.keyAt, "modes.%.80s: expected a name that begins with a letter, of letters, digits, _ and -", entry.key)
			continue
		}
		if isNull(entry.value) { // hides a mode of the recipe
			delete(s.modes, entry.key)
			continue
		}
		s.modes[entry.key] = r.readMode(entry, s.modes[entry.key])
	}
	if len(s.modes) > maxModes {
		r.fault(m.at, "%d modes, at most %d", len(s.modes), maxModes)
	}
}

// readMode changes base, the recipe's mode of that name, by what is said.
func (r *reader) readMode(entry member, base Mode) Mode {
	base.Name = entry.key
	for _, m := range r.object(entry.at, "modes."+entry.key) {
		i := slices.IndexFunc(known, func(k key) bool { return k.name == m.key })
		if i < 0 {
			r.slip(m, "modes."+entry.key+".", knownNames())
			continue
		}
		if err := known[i].set(&base, m.value); err != nil {
			r.fault(m.at, "modes.%s.%s: %w", entry.key, m.key, err)
		}
	}
	return base
}

func (r *reader) readStartup(m member, s *settings) {
	for _, k := range r.object(m.at, "startup") {
		if k.key != "greeting" {
			r.slip(k, "startup.", []string{"greeting"})
		} else if json.Unmarshal(k.value, &s.greeting) != nil {
			r.fault(k.at, "startup.greeting: expected a text")
		}
	}
}

func (r *reader) object(at int, what string) object {
	for at < len(r.text) && bytes.IndexByte([]byte(" \t\r\n"), r.text[at]) >= 0 {
		at++
	}
	o, where, err := parseObject(r.text, at)
	if err != nil {
		r.fault(where, "%s: %w", what, err)
	}
	return o
}

func knownNames() (names []string) {
	for _, k := range known {
		names = append(names, k.name)
	}
	return names
}
