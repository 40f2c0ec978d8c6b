package sbom

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// License is what a package declares.
type License struct {
	Expression string            `json:"expression,omitempty"` // SPDX licence expression; "" where none is certain
	Texts      map[string]string `json:"texts,omitempty"`      // of each LicenseRef in it
}

// known are the short names of DEP-5 that mean exactly one licence of the SPDX list, without those that end in "+".
var known = map[string]string{
	"GPL-1": "GPL-1.0-only", "GPL-1.0": "GPL-1.0-only", "GPL-2": "GPL-2.0-only", "GPL-2.0": "GPL-2.0-only", "GPL-3": "GPL-3.0-only", "GPL-3.0": "GPL-3.0-only",
	"LGPL-2": "LGPL-2.0-only", "LGPL-2.0": "LGPL-2.0-only", "LGPL-2.1": "LGPL-2.1-only", "LGPL-3": "LGPL-3.0-only", "LGPL-3.0": "LGPL-3.0-only",
	"AGPL-3": "AGPL-3.0-only", "AGPL-3.0": "AGPL-3.0-only",
	"Apache-2.0": "Apache-2.0", "Expat": "MIT", "ISC": "ISC", "CC0-1.0": "CC0-1.0", "MPL-1.1": "MPL-1.1", "MPL-2.0": "MPL-2.0",
	"BSD-4-clause-UC": "BSD-4-Clause-UC", "BSD-2-clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause", "BSD-4-clause": "BSD-4-Clause",
	"GFDL-1.2": "GFDL-1.2-only", "GFDL-1.3": "GFDL-1.3-only", "GFDL-NIV-1.2": "GFDL-1.2-no-invariants-only", "GFDL-NIV-1.3": "GFDL-1.3-no-invariants-only",
	"Zlib": "Zlib", "AFL-2.1": "AFL-2.1", "BSL-1.0": "BSL-1.0", "OFL-1.1": "OFL-1.1", "CDDL-1.0": "CDDL-1.0", "EPL-1.0": "EPL-1.0", "Unicode-DFS-2016": "Unicode-DFS-2016",
	"Artistic-2.0": "Artistic-2.0", "CC-BY-3.0": "CC-BY-3.0", "CC-BY-4.0": "CC-BY-4.0", "CC-BY-SA-3.0": "CC-BY-SA-3.0", "CC-BY-SA-4.0": "CC-BY-SA-4.0",
}

// caseless holds known by lower-case name: DEP-5 names ignore case.
var caseless = func() map[string]string {
	m := map[string]string{}
	for name, id := range known {
		m[strings.ToLower(name)] = id
		if family, ok := strings.CutSuffix(id, "-only"); ok {
			m[strings.ToLower(name)+"+"] = family + "-or-later"
		}
	}
	return m
}()

const (
	maxCopyright = 4 << 20 // bytes of a copyright file that are looked at
	maxTerms     = 200     // different licences of a package; more give no expression
	maxText      = 64 << 10
)

// ParseCopyright reads a machine-readable Debian copyright file (copyright-format 1.0, DEP-5). The licences of all its
// Files paragraphs apply together. A name that is not one licence of the SPDX list beyond doubt becomes a LicenseRef with the
// text that the file gives. Any other file gives an empty License.
func ParseCopyright(data []byte) License {
	if len(data) > maxCopyright {
		return License{}
	}
	paragraphs := control(string(data))
	if len(paragraphs) == 0 || !strings.Contains(paragraphs[0]["format"], "copyright-format/1.0") {
		return License{}
	}
	c := copyrightFile{texts: map[string]string{}}
	var names []string
	for _, p := range paragraphs {
		name, text, _ := strings.Cut(p["license"], "\n")
		name = strings.Join(strings.Fields(name), " ")
		if name == "" {
			continue
		}
		if text = body(text); text != "" && c.texts[strings.ToLower(name)] == "" {
			c.texts[strings.ToLower(name)] = text
		}
		if p["files"] != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 || len(names) > maxTerms {
		return License{}
	}
	l := License{Texts: map[string]string{}}
	var terms []string
	simple := map[string]bool{}
	for _, name := range names {
		term, alone := c.expression(name, l.Texts)
		if simple[term] = alone; !slices.Contains(terms, term) {
			terms = append(terms, term)
		}
	}
	for i, term := range terms {
		if len(terms) > 1 && !simple[term] {
			terms[i] = "(" + term + ")"
		}
	}
	l.Expression = strings.Join(terms, " AND ")
	return l
}

type copyrightFile struct{ texts map[string]string }

var (
	wordForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_~-]*$`)
	comma      = regexp.MustCompile(`, (and|or) `)
	notInAName = regexp.MustCompile(`[^A-Za-z0-9.]+`)
)

// expression turns the licence name of a paragraph into an SPDX expression: "A or B, and C" is (A OR B) AND C. What
// does not follow the format becomes one LicenseRef as a whole. simple says that it needs no brackets in a conjunction.
func (c copyrightFile) expression(name string, texts map[string]string) (expression string, simple bool) {
	ops := comma.FindAllStringSubmatch(name, -1)
	for _, op := range ops {
		if op[1] != ops[0][1] {
			return c.ref(name, texts), true
		}
	}
	pieces := comma.Split(name, -1)
	found := map[string]string{}
	var parts []string
	for _, piece := range pieces {
		e, ok := c.plain(piece, found)
		if !ok {
			return c.ref(name, texts), true
		}
		if len(pieces) > 1 && strings.Contains(e, " ") {
			e = "(" + e + ")"
		}
		parts = append(parts, e)
	}
	for id, text := range found {
		texts[id] = text
	}
	if len(parts) == 1 {
		return parts[0], !strings.Contains(parts[0], " OR ")
	}
	op := strings.ToUpper(ops[0][1])
	return strings.Join(parts, " "+op+" "), op == "AND"
}

// plain reads "A or B and C", where "and" binds more tightly.
func (c copyrightFile) plain(s string, texts map[string]string) (string, bool) {
	var either []string
	for _, alternative := range strings.Split(s, " or ") {
		var both []string
		for _, name := range strings.Split(alternative, " and ") {
			id, ok := caseless[strings.ToLower(name)]
			if !ok {
				if !wordForm.MatchString(name) {
					return "", false
				}
				id = c.ref(name, texts)
			}
			both = append(both, id)
		}
		e := strings.Join(both, " AND ")
		either = append(either, e)
	}
	if len(either) > 1 {
		for i, e := range either {
			if strings.Contains(e, " AND ") {
				either[i] = "(" + e + ")"
			}
		}
	}
	return strings.Join(either, " OR "), true
}

// ref names a licence that the SPDX list lacks. Equal names with equal texts get equal references in every package.
func (c copyrightFile) ref(name string, texts map[string]string) string {
	text := c.texts[strings.ToLower(name)]
	if text == "" {
		text = "The copyright file names this licence and does not give its text."
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "\n[…]"
	}
	readable := strings.Trim(notInAName.ReplaceAllString(name, "-"), "-.")
	if len(readable) > 60 {
		readable = readable[:60]
	}
	id := fmt.Sprintf("LicenseRef-%s-%x", readable, sha256.Sum256([]byte(name+"\n"+text)))
	id = id[:len(id)-56] // eight digits of the digest
	texts[id] = text
	return id
}

// control reads paragraphs of fields (deb822(5)), names in lower case; the first of equal names counts.
func control(text string) []map[string]string {
	var all []map[string]string
	var p map[string]string
	var value strings.Builder
	field := ""
	end := func() {
		if field != "" {
			p[field] = value.String()
		}
		field = ""
		value.Reset()
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case line == "":
			end()
			p = nil
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if field != "" {
				value.WriteString("\n" + line)
			}
		default:
			end()
			name, first, ok := strings.Cut(line, ":")
			if name = strings.ToLower(name); !ok || p[name] != "" {
				continue
			}
			if p == nil {
				p = map[string]string{}
				all = append(all, p)
			}
			field = name
			value.WriteString(strings.TrimSpace(first))
		}
	}
	end()
	return all
}

// body undoes the indentation of a field's further lines; a line of one dot is an empty one.
func body(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line = strings.TrimPrefix(strings.TrimPrefix(line, " "), "\t"); line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return strings.ToValidUTF8(strings.TrimSpace(b.String()), "\uFFFD")
}
