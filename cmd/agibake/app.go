package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// app is what every verb shares: where to write, and how.
type app struct {
	stdout, stderr io.Writer
	jsonOut        bool
}

// progress returns where long work reports, and what to call when it is over.
func (a *app) progress() (progress.Func, func()) {
	d := &display{w: a.stderr}
	if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		d.width, _, _ = term.GetSize(int(f.Fd()))
		d.width = max(d.width, 40)
	}
	return d.event, d.close
}

// printJSON writes the one document that --json promises on stdout.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// fail prints err with its hint and returns the exit code.
func (a *app) fail(err error) int {
	if err == nil {
		return 0
	}
	kind := fault.KindOf(err)
	if text := err.Error(); kind == fault.Input && strings.Contains(text, "\n") {
		fmt.Fprintln(a.stderr, text) // faults of a file, a line each
	} else {
		fmt.Fprintln(a.stderr, "agibake: "+text)
	}
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintln(a.stderr, "hint: "+hint)
	}
	return int(kind)
}
