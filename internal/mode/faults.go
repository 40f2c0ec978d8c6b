package mode

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// slip notes an unknown key that was probably meant to be a known one.
func (r *reader) slip(m member, prefix string, names []string) {
	if n := near(m.key, names); n != "" && len(r.notes) < maxFaults {
		r.notes = append(r.notes, fmt.Sprintf("%s: %s%s is not known, did you mean %q?", r.place(m.keyAt), prefix, m.key, n))
	}
}

func (r *reader) fault(at int, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %w", r.place(at), fmt.Errorf(format, args...)))
}

// place is FILE:LINE:COLUMN of an offset; a column is a character.
func (r *reader) place(at int) string {
	before := r.text[:min(at, len(r.text))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("%s:%d:%d", r.name, line, column)
}
