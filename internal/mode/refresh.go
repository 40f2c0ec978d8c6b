package mode

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/agibake/agibake/internal/fault"
)

func (s *Store) find(name string) (Mode, error) {
	m, there := s.settings.modes[name]
	if !there && name != None {
		err := fault.Mark(fault.Input, fmt.Errorf("mode %.80q is not known", name))
		if n := near(name, slices.Sorted(maps.Keys(s.settings.modes))); n != "" {
			err = fault.Hint(err, fmt.Sprintf("did you mean %q?", n))
		}
		return Mode{}, err
	}
	return m.clone(), nil
}

// refresh reads again what changed.
func (s *Store) refresh() {
	if s.settingsFile.changed() {
		next, err := s.load()
		if s.broken = err; err == nil {
			s.settings = next
		}
	}
	if s.currentFile.changed() {
		next := chosen{}
		data, err := s.currentFile.read()
		if err == nil && data != nil {
			if err = json.Unmarshal(data, &next); err != nil {
				err = fault.Mark(fault.Input, fmt.Errorf("read %s: %w", CurrentFile, err))
			}
		}
		if s.unreadable = err; err == nil {
			s.current = next
		}
	}
}

func (s *Store) load() (*settings, error) {
	data, err := s.settingsFile.read()
	if err != nil {
		return nil, err
	}
	if data == nil {
		data = []byte("{}")
	}
	return parseSettings(SettingsFile, data, s.recipe)
}
