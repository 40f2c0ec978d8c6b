package fidelity

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

const columns = 80

// marks are the words of a status, for people.
var marks = map[Status]string{Pass: "pass", Fail: "FAIL", NotAsked: "not asked"}

// Text writes v for a terminal of 80 columns.
func Text(w io.Writer, v *Verdict) error {
	t := &writer{w: bufio.NewWriter(w)}
	t.wrap("", v.Summary)
	t.wrap("", fmt.Sprintf("Recorded %s, checked %s.", v.Recorded.Format("2006-01-02 15:04"), v.Checked.Format("2006-01-02 15:04 UTC")))
	t.wrap("", "Was: "+v.Was.String()+".")
	t.wrap("", "Is:  "+v.Is.String()+".")
	t.line("")
	for _, l := range v.Levels {
		head := fmt.Sprintf("%d %-9s %-11s", l.Number, l.Name, marks[l.Status])
		for _, r := range append(slices.Clone(l.Reasons), noted(l.Notes)...) {
			t.wrap(head, r)
			head = strings.Repeat(" ", len(head))
		}
	}
	for _, p := range v.Answers {
		if !p.Judged && p.Same {
			continue
		}
		t.line("")
		t.wrap("", p.title()+" "+p.Question)
		if p.Same {
			t.wrap("  both   ", p.Is)
			continue
		}
		t.wrap("  was    ", p.Was)
		t.wrap("  is     ", p.Is)
	}
	return t.w.Flush()
}

func (o Origin) String() string {
	build, hardware := "unknown build", "unknown hardware"
	if o.Build != "" {
		build = "llama.cpp " + o.Build
	}
	if o.Hardware != "" {
		hardware = o.Hardware
	}
	return build + " on " + hardware
}

func (p Pair) title() string {
	if p.Mode != "" {
		return p.Mode + ":"
	}
	return "asked:"
}

func noted(notes []string) (list []string) {
	for _, n := range notes {
		list = append(list, "note: "+n)
	}
	return list
}

type writer struct{ w *bufio.Writer }

func (t *writer) line(s string) { t.w.WriteString(strings.TrimRight(s, " ") + "\n") }

// wrap writes head and text; what does not fit stands below, indented as far as head is wide. Words that are wider than
// the terminal stay whole, so that they can be copied.
func (t *writer) wrap(head, text string) {
	words := strings.Fields(clean(text))
	width := utf8.RuneCountInString(head)
	line, used := head, width
	for _, w := range words {
		n := utf8.RuneCountInString(w)
		if used > width && used+1+n > columns {
			t.line(line)
			line, used = strings.Repeat(" ", width), width
		}
		if used > width {
			line, used = line+" ", used+1
		}
		line, used = line+w, used+n
	}
	t.line(line)
}

// clean keeps control characters of foreign text away from the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
