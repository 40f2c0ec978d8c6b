package fidelity

import (
	"fmt"
	"strings"
)

// short is a text of at most n bytes for a reason, on one line.
func short(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// plural is "1 file" or "2 files".
func plural(n int, one string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", one)
	}
	if y, ok := strings.CutSuffix(one, "y"); ok {
		one = y + "ie"
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// some names the first few of a list.
func some(list []string) string {
	text := short(strings.Join(list[:min(3, len(list))], ", "), 160)
	if len(list) > 3 {
		text += ", …"
	}
	return text
}

// amount is a number of bytes for a person.
func amount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return plural(int(n), "byte")
}
