package fidelity

import (
	"bufio"
	"fmt"
	"io"
)

const maxShown = 20 // exchanges in a text; JSON has more

// ReplayText writes r for a terminal of 80 columns: how many, then the exchanges that did not come out equal.
func ReplayText(w io.Writer, r *ReplayReport) error {
	t := &writer{w: bufio.NewWriter(w)}
	t.wrap("", fmt.Sprintf("%s: %d answered equally, %d differently, %d not asked.", plural(r.Total, "exchange"), r.Equal, r.Differ, r.NotAsked))
	shown := 0
	for _, e := range r.Exchanges {
		if e.Status == Pass {
			continue
		}
		if shown++; shown > maxShown {
			continue
		}
		name := ""
		if e.ID != "" {
			name = " (" + e.ID + ")"
		}
		t.line("")
		t.wrap("", fmt.Sprintf("%d%s %s: %s", e.Line, name, marks[e.Status], e.Question))
		t.wrap("  ", e.Reason)
		if e.Status == Fail {
			t.wrap("  was    ", e.Was)
			t.wrap("  is     ", e.Is)
		}
	}
	if more := r.Differ + r.NotAsked - min(shown, maxShown); more > 0 {
		t.line("")
		t.line(fmt.Sprintf("And %d more.", more))
	}
	return t.w.Flush()
}
