package rootfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// control is one paragraph of deb-control(5).
type control struct {
	text   string // as shipped, ending in a newline
	fields map[string]string
}

func (c control) get(field string) string { return c.fields[strings.ToLower(field)] }

// parseControl reads the only paragraph of a control file. Continuation lines are joined with their newlines kept.
func parseControl(data []byte) (control, error) {
	c := control{text: strings.Trim(string(data), "\n") + "\n", fields: map[string]string{}}
	last := ""
	for line := range strings.Lines(c.text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if last == "" {
				return control{}, errors.New("control file begins with a continuation line")
			}
			c.fields[last] += "\n" + line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return control{}, fmt.Errorf("control file has a bad line %q", line)
		}
		last = strings.ToLower(name)
		if _, twice := c.fields[last]; twice {
			return control{}, fmt.Errorf("control file has two fields %s", name)
		}
		c.fields[last] = strings.TrimSpace(value)
	}
	return c, nil
}

// relation is one alternative of a dependency field: NAME (OP VERSION), see deb-control(5).
type relation struct{ name, op, version string }

// relations lists every package that a field names, alternatives among them.
func (c control) relations(field string) []relation {
	var list []relation
	for _, part := range strings.FieldsFunc(c.get(field), func(r rune) bool { return r == ',' || r == '|' }) {
		name, rest, _ := strings.Cut(strings.TrimSpace(part), "(")
		name, _, _ = strings.Cut(strings.TrimSpace(name), ":")
		f := strings.Fields(strings.TrimRight(strings.TrimSpace(rest), ")"))
		r := relation{name: name}
		if len(f) == 2 {
			r.op, r.version = f[0], f[1]
		}
		list = append(list, r)
	}
	return list
}

// dpkgName is the package's name in dpkg's database: with its architecture where several may be installed together.
func (b *deb) dpkgName() string {
	if b.control.get("Multi-Arch") == "same" {
		return b.Name + ":" + b.Architecture
	}
	return b.Name
}

// installedSize estimates the bytes that the packages unpack to.
func installedSize(debs []*deb) int64 {
	var kib int64
	for _, d := range debs {
		n, _ := strconv.ParseInt(d.control.get("Installed-Size"), 10, 40)
		kib += max(n, 0)
	}
	return kib << 10
}

// inputError is an error of kind Input: the packages do not fit together or are malformed.
func inputError(format string, args ...any) error {
	return fault.Mark(fault.Input, fmt.Errorf(format, args...))
}
