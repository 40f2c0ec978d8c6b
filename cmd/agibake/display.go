package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/agibake/agibake/internal/progress"
)

// display shows progress: one living line on a terminal, a line a stage elsewhere. Stages may overlap.
type display struct {
	w     io.Writer
	width int // columns of the terminal; 0 when it is none

	mu    sync.Mutex
	began map[string]time.Time // stages seen
	drawn time.Time
	line  bool // a living line stands on the terminal
}

func (d *display) event(e progress.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if e.Warn {
		d.clear()
		fmt.Fprintf(d.w, "warning: %s\n", e.Item)
		return
	}
	if _, seen := d.began[e.Stage]; !seen {
		if d.began == nil {
			d.began = map[string]time.Time{}
		}
		d.began[e.Stage], d.drawn = now, time.Time{}
		if d.width == 0 {
			fmt.Fprintf(d.w, "%s: %s\n", e.Stage, e.Item)
		}
	}
	if d.width == 0 || now.Sub(d.drawn) < 100*time.Millisecond {
		return
	}
	d.drawn, d.line = now, true
	text := []rune(d.text(e, now.Sub(d.began[e.Stage]).Seconds()))
	fmt.Fprintf(d.w, "\r\x1b[K%s", string(text[:min(len(text), d.width-1)]))
}

// text is the living line: stage, bar, amount, rate, what is left, item.
func (d *display) text(e progress.Event, seconds float64) string {
	head := fmt.Sprintf("%-9s", e.Stage)
	if e.Total <= 0 {
		return head + " " + e.Item
	}
	part := min(1, float64(e.Done)/float64(e.Total))
	const cells = 20
	full := int(part * cells)
	head += " [" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
	if !e.Bytes {
		return fmt.Sprintf("%s %d/%d %s", head, e.Done, e.Total, e.Item)
	}
	head += fmt.Sprintf(" %s/%s", size(e.Done), size(e.Total))
	if rate := float64(e.Done) / seconds; seconds > 0.5 && rate > 0 {
		left := time.Duration(float64(e.Total-e.Done) / rate * float64(time.Second)).Round(time.Second)
		head += fmt.Sprintf(" %s/s %s", size(int64(rate)), left)
	}
	return head + " " + e.Item
}

func (d *display) clear() {
	if d.line {
		fmt.Fprint(d.w, "\r\x1b[K")
		d.line = false
	}
}

func (d *display) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}

// size formats bytes with a binary unit.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for ; value >= 1024 && unit < 3; unit++ {
		value /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[unit])
}
