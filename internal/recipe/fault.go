package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Place is where something stands in a recipe file. Line and Column count from 1; columns count characters.
type Place struct {
	File         string
	Line, Column int
}

// String returns "file:line:column".
func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Fault is one thing wrong with a recipe.
type Fault struct {
	File   string
	Line   int
	Column int
	Text   string
	Hint   string // what would be right, or ""
}

// String returns "file:line:column: text", followed by "; hint" where there is one.
func (f Fault) String() string {
	s := Place{f.File, f.Line, f.Column}.String() + ": " + f.Text
	if f.Hint != "" {
		s += "; " + f.Hint
	}
	return s
}

// Faults is everything wrong with a recipe and the files it extends, in reading order.
type Faults []Fault

// Error returns one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

func (f *Faults) add(at Place, hint, format string, args ...any) {
	*f = append(*f, Fault{at.File, at.Line, at.Column, fmt.Sprintf(format, args...), hint})
}

// sorted orders faults by file, as listed in files, then by position, and drops repetitions.
func (f Faults) sorted(files []string) Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
		)
	})
	return slices.Compact(f)
}
