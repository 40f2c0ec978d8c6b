package mode

import (
	"strings"

	"github.com/agext/levenshtein"
)

// near returns the name that s was probably meant to be, or "".
func near(s string, names []string) string {
	if len(s) > 100 {
		return ""
	}
	best, least := "", 1+max(1, min(3, len([]rune(s))/3))
	for _, n := range names {
		if d := levenshtein.Distance(strings.ToLower(s), strings.ToLower(n), nil); d < least {
			best, least = n, d
		}
	}
	return best
}
