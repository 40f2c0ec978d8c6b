package mode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/agibake/agibake/internal/fault"
)

// Put writes a mode to the settings, in place of the one of its name. Keys that are not known stay, in their order. A mode
// that is not valid, or settings that are broken, are errors of kind Input, and nothing is written.
func (s *Store) Put(ctx context.Context, m Mode) error {
	if err := m.check(); err != nil {
		return fault.Mark(fault.Input, fmt.Errorf("put mode: %w", err))
	}
	values, err := m.values()
	if err != nil {
		return fmt.Errorf("put mode: %w", err)
	}
	return s.edit(ctx, "put mode", func(modes object) (object, error) {
		var mine object
		if old := modes.get(m.Name); old != nil && !isNull(old.value) {
			if mine, _, err = parseObject(old.value, 0); err != nil {
				return nil, err
			}
		}
		of, _ := s.recipe[m.Name].values()
		for _, k := range known {
			value, set := values[k.name]
			_, recipes := of[k.name]
			switch {
			case set:
				mine = mine.with(k.name, value)
			case recipes: // what the recipe says must not come back
				mine = mine.with(k.name, json.RawMessage("null"))
			default:
				mine = mine.without(k.name)
			}
		}
		return modes.with(m.Name, mine.encode()), nil
	})
}

// Remove takes a mode out of the settings; one of the recipe is hidden by null. The current mode and an unknown one are
// errors of kind Input.
func (s *Store) Remove(ctx context.Context, name string) error {
	return s.edit(ctx, "remove mode", func(modes object) (object, error) {
		if _, err := s.find(name); err != nil {
			return nil, err
		}
		if name == s.current.Mode || name == None {
			return nil, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("mode %q is the current one", name)), "switch to another mode first")
		}
		if _, recipes := s.recipe[name]; recipes {
			return modes.with(name, json.RawMessage("null")), nil
		}
		return modes.without(name), nil
	})
}

// edit changes the modes within the settings as they are on the disk now.
func (s *Store) edit(ctx context.Context, what string, change func(object) (object, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.settingsFile.loaded, s.settingsFile.seen = false, nil
	if s.refresh(); s.broken != nil {
		return fault.Hint(fmt.Errorf("%s: %w", what, s.broken), "mend "+SettingsFile+" first")
	}
	text, err := s.settingsFile.read()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if text, err = edited(text, change); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	next, err := parseSettings(SettingsFile, text, s.recipe)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.settingsFile.write(text); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.settings = next
	return nil
}

func edited(text []byte, change func(object) (object, error)) ([]byte, error) {
	if text = bytes.TrimSpace(text); len(text) == 0 {
		text = []byte("{}")
	}
	all, _, err := parseObject(text, 0)
	if err != nil {
		return nil, err
	}
	var modes object
	if m := all.get("modes"); m != nil {
		if modes, _, err = parseObject(m.value, 0); err != nil {
			return nil, err
		}
	}
	if modes, err = change(modes); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, all.with("modes", modes.encode()).encode(), "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// values are a mode's known keys as they are written.
func (m Mode) values() (map[string]json.RawMessage, error) {
	if m.Name == "" {
		return nil, nil
	}
	if _, err := json.Marshal(m); err != nil { // NaN
		return nil, err
	}
	o, _, err := parseObject(encode(m), 0)
	values := map[string]json.RawMessage{}
	for _, k := range o.without("name") {
		values[k.key] = k.value
	}
	return values, err
}
