package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/progress"
)

func TestPlainLinesOffTheTerminal(t *testing.T) {
	var out bytes.Buffer
	d := &display{w: &out}
	p := progress.Func(d.event)
	p.Step("resolve", "jammy")
	p.Count("resolve", "docker.io", 5, 10)
	p.Warn("resolve", "the lock is old")
	p.Step("disk", "raw")
	d.close()
	if want := "resolve: jammy\nwarning: the lock is old\ndisk: raw\n"; out.String() != want {
		t.Errorf("display wrote %q, want %q", out.String(), want)
	}
}

func TestLinesFitTheTerminal(t *testing.T) {
	var out bytes.Buffer
	d := &display{w: &out, width: 80}
	d.event(progress.Event{Stage: "download", Item: strings.Repeat("long name ", 20), Done: 1 << 20, Total: 3 << 30, Bytes: true})
	d.close()
	for _, line := range strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\r' || r == '\n' }) {
		if n := len([]rune(strings.ReplaceAll(line, "\x1b[K", ""))); n >= 80 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 20 << 30: "20.0 GiB", 3 << 40: "3.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
