package registry

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/fault"
)

const maxName = 200 // bytes of a file's name; the partial file's is longer

// fileName accepts a title as the name of a file in a folder, or refuses it: nothing that leads elsewhere, hides, or
// means something else on another system.
func fileName(title string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || r == ':' || !unicode.IsPrint(r) }
	switch {
	case title == "", len(title) > maxName, !utf8.ValidString(title), strings.HasPrefix(title, "."), strings.HasSuffix(title, "."),
		strings.HasPrefix(title, "-"), strings.TrimSpace(title) != title, strings.ContainsFunc(title, bad):
		return fault.Mark(fault.Untrusted, fmt.Errorf("title %q is no plain file name", tameText(title, 100)))
	}
	return nil
}

var partTitle = regexp.MustCompile(`^(.+)\.part-([0-9]{3,5})$`)

// splitTitle takes the part's number off a title; 0 stands for a file in one piece.
func splitTitle(title string) (name string, part int) {
	m := partTitle.FindStringSubmatch(title)
	if m == nil {
		return title, 0
	}
	_, _ = fmt.Sscanf(m[2], "%d", &part)
	if part == 0 {
		return title, 0
	}
	return m[1], part
}
