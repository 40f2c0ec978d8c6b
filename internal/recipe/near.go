package recipe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

func quote(s string) string {
	if r := []rune(s); len(r) > 100 {
		s = string(r[:100]) + "…"
	}
	return strconv.Quote(s)
}

// near returns the name that s was probably meant to be, or "".
func near(s string, names []string) string {
	best, least := "", 1+max(1, min(3, len(s)/3))
	s = strings.ToLower(s)
	for _, n := range names {
		lower := strings.ToLower(n)
		distance := levenshtein.Distance(s, lower, nil)
		if distance > 1 && letters(s) == letters(lower) {
			distance = 1 // letters that changed places are one slip
		}
		if distance < least {
			best, least = n, distance
		}
	}
	return best
}

func letters(s string) string {
	r := []rune(s)
	slices.Sort(r)
	return string(r)
}

func meant(s string, names []string) string {
	if n := near(s, names); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return ""
}
