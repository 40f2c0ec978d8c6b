package configure

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// unit returns the absolute path of a unit's file in the order systemd searches, or "".
func (b *builder) unit(name string) string {
	for _, dir := range []string{unitDir, "/lib/systemd/system/", "/usr/lib/systemd/system/"} {
		if b.exists(dir+name) || b.isLink(dir+name) {
			return dir + name
		}
	}
	return ""
}

func (b *builder) isLink(name string) bool {
	p, err := b.place(name)
	return err == nil && b.all.Lookup(p) != nil
}

// sooner lets a unit start without the network, by a copy that does not wait for it: a list of After= cannot be shortened
// by a drop-in. Containers talk to the model on this machine, with a network or without.
func (b *builder) sooner(name string) error {
	file := b.unit(name)
	if file == "" || file == unitDir+name {
		return nil
	}
	text, err := b.read(file)
	if err != nil {
		return err
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if key, value, _ := strings.Cut(line, "="); key == "After" || key == "Wants" {
			words := slices.DeleteFunc(strings.Fields(value), func(w string) bool { return strings.HasPrefix(w, "network") })
			if len(words) == 0 {
				continue
			}
			line = key + "=" + strings.Join(words, " ") + "\n"
		}
		out.WriteString(line)
	}
	return b.text(unitDir+name, out.String())
}

// enable makes the links that systemctl enable would make (systemd.unit(5), [Install] section).
func (b *builder) enable(name string) error { return b.enableOnce(name, map[string]bool{}) }

func (b *builder) enableOnce(name string, seen map[string]bool) error {
	if seen[name] {
		return nil
	}
	seen[name] = true
	file, source := b.unit(name), name
	if at := strings.IndexByte(name, '@'); file == "" && at > 0 {
		source = name[:at+1] + path.Ext(name)
		file = b.unit(source)
	}
	if file == "" {
		return fmt.Errorf("enable %s: no such unit", name)
	}
	if p, _ := b.place(file); b.all.Lookup(p).Link == "/dev/null" {
		return nil // masked
	}
	text, err := b.read(file)
	if err != nil {
		return fmt.Errorf("enable %s: %w", name, err)
	}
	in := installSection(text)
	if len(in) == 0 {
		return fault.Hint(input(fmt.Errorf("enable %s: it has no [Install] section", name)), "add [Install] with WantedBy=multi-user.target to the unit")
	}
	if at := strings.IndexByte(name, '@'); at > 0 && name[at+1] == '.' {
		if len(in["DefaultInstance"]) == 0 {
			return fmt.Errorf("enable %s: a template needs an instance", name)
		}
		name = name[:at+1] + in["DefaultInstance"][0] + path.Ext(name)
	}
	for key, suffix := range map[string]string{"WantedBy": ".wants/" + name, "RequiredBy": ".requires/" + name, "Alias": ""} {
		for _, to := range in[key] {
			if !unitName.MatchString(to) {
				return fmt.Errorf("enable %s: %s=%s: not a unit name", name, key, to)
			}
			if err := b.link(file, unitDir+to+suffix); err != nil {
				return err
			}
		}
	}
	var faults []error
	for _, also := range in["Also"] {
		if b.unit(also) != "" {
			faults = append(faults, b.enableOnce(also, seen))
		}
	}
	return errors.Join(faults...)
}

// installSection returns the words of each key in a unit's [Install] section.
func installSection(text string) map[string][]string {
	found := map[string][]string{}
	inside := false
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = line == "[Install]"
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !inside || !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		key = strings.TrimSpace(key)
		if strings.TrimSpace(value) == "" {
			delete(found, key)
			continue
		}
		found[key] = append(found[key], strings.Fields(value)...)
	}
	return found
}
