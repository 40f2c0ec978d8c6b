package sbom

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"

func TestParseCopyright(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"none":             {"This package is in the public domain.\n", ""},
		"empty":            {"", ""},
		"header alone":     {head, ""},
		"one":              {head + "Files: *\nLicense: GPL-2+\n the text\n", "GPL-2.0-or-later"},
		"only":             {head + "Files: *\nLicense: gpl-3\n", "GPL-3.0-only"},
		"mit is Expat":     {head + "Files: *\nLicense: Expat\n", "MIT"},
		"MIT is uncertain": {head + "Files: *\nLicense: MIT\n one of several\n", "LicenseRef-MIT-"},
		"two":              {head + "Files: *\nLicense: GPL-2+\n\nFiles: b\nLicense: Expat\n\nFiles: c\nLicense: GPL-2+\n", "GPL-2.0-or-later AND MIT"},
		"choice":           {head + "Files: *\nLicense: GPL-1+ or Apache-2.0\n", "GPL-1.0-or-later OR Apache-2.0"},
		"choice and more":  {head + "Files: *\nLicense: GPL-1+ or Apache-2.0\n\nFiles: b\nLicense: ISC\n", "(GPL-1.0-or-later OR Apache-2.0) AND ISC"},
		"and before or":    {head + "Files: *\nLicense: GPL-2 and ISC or Expat\n", "(GPL-2.0-only AND ISC) OR MIT"},
		"comma":            {head + "Files: *\nLicense: GPL-2 or ISC, and Expat\n", "(GPL-2.0-only OR ISC) AND MIT"},
		"comma or":         {head + "Files: *\nLicense: GPL-2 and ISC, or Expat\n", "(GPL-2.0-only AND ISC) OR MIT"},
		"two commas":       {head + "Files: *\nLicense: GPL-2, or ISC, and Expat\n", "LicenseRef-GPL-2-or-ISC-and-Expat-"},
		"exception":        {head + "Files: *\nLicense: GPL-2+ with OpenSSL exception\n", "LicenseRef-GPL-2-with-OpenSSL-exception-"},
		"slash":            {head + "Files: *\nLicense: GPL/LGPL\n", "LicenseRef-GPL-LGPL-"},
		"standing alone":   {head + "Files: *\nLicense: other\n\nLicense: other\n Do what you\n .\n like.\n", "LicenseRef-other-"},
		"header's license": {"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: ISC\n\nFiles: *\nLicense: Expat\n", "MIT"},
		"old format":       {"Format-Specification: http://dep.debian.net/deps/dep5/\n\nFiles: *\nLicense: ISC\n", ""},
	} {
		got := ParseCopyright([]byte(c.file))
		if got.Expression != c.want && (!strings.HasSuffix(c.want, "-") || !regexp.MustCompile("^"+c.want+"[0-9a-f]{8}$").MatchString(got.Expression)) {
			t.Errorf("%s: %q, want %q", name, got.Expression, c.want)
		}
		references(t, got)
	}
	l := ParseCopyright([]byte(head + "Files: *\nLicense: other\n\nLicense: other\n Do what you\n .\n like.\n"))
	if text := l.Texts[l.Expression]; text != "Do what you\n\nlike." {
		t.Errorf("text %q", text)
	}
}

var (
	refForm = regexp.MustCompile(`LicenseRef-[A-Za-z0-9.-]+`)
	idForm  = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
)

// references wants a text for each reference and a reference for each text.
func references(t testing.TB, l License) {
	t.Helper()
	found := map[string]bool{}
	for _, id := range refForm.FindAllString(l.Expression, -1) {
		found[id] = true
		if l.Texts[id] == "" {
			t.Errorf("%q: no text of %s", l.Expression, id)
		}
	}
	if len(found) != len(l.Texts) {
		t.Errorf("%q has %d references, and %d texts", l.Expression, len(found), len(l.Texts))
	}
}

// grammar checks an expression's brackets and operators (SPDX 2.3, annex D).
func grammar(expression string) bool {
	tokens := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(expression))
	depth, operand := 0, true
	for _, token := range tokens {
		switch token {
		case "(":
			if depth++; !operand {
				return false
			}
		case ")":
			if depth--; operand || depth < 0 {
				return false
			}
		case "AND", "OR":
			if operand {
				return false
			}
			operand = true
		default:
			if !operand || !idForm.MatchString(token) {
				return false
			}
			operand = false
		}
	}
	return depth == 0 && !operand
}

// TestHostCopyrights reads what is installed on this machine, if it is of Debian's kind.
func TestHostCopyrights(t *testing.T) {
	files, _ := filepath.Glob("/usr/share/doc/*/copyright")
	if len(files) == 0 {
		t.Skip("SKIPPED: no copyright files here")
	}
	certain, refs, size, texts := 0, 0, 0, map[string]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		l := ParseCopyright(data)
		if l.Expression == "" {
			continue
		}
		if !grammar(l.Expression) {
			t.Errorf("%s: %q", file, l.Expression)
		}
		references(t, l)
		if len(l.Texts) == 0 {
			certain++
		} else {
			refs++
		}
		for id, text := range l.Texts {
			texts[id] = len(text)
		}
	}
	for _, n := range texts {
		size += n
	}
	t.Logf("%d packages: %d certain, %d with references, %d different texts of %d KiB", len(files), certain, refs, len(texts), size>>10)
}

func FuzzParseCopyright(f *testing.F) {
	f.Add([]byte(head + "Files: *\nLicense: GPL-2 or ISC, and Expat\n text\n\nLicense: ISC\n .\n more\n"))
	f.Add([]byte(head + "Files: *\nLicense: a and b or c, or d/e with f exception\n"))
	f.Add([]byte("Format: copyright-format/1.0\nFiles:x\nLicense:\xff\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := ParseCopyright(data)
		if l.Expression != "" && !grammar(l.Expression) {
			t.Errorf("%q", l.Expression)
		}
		references(t, l)
	})
}
