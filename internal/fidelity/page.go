package fidelity

import (
	_ "embed" // the page is a data file
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"mark":    func(s Status) string { return marks[s] },
	"class":   func(s Status) string { return map[Status]string{Pass: "pass", Fail: "fail", NotAsked: "open"}[s] },
	"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"title":   func(name string) string { return titles[name] },
	"percent": func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) },
	"small":   func(f float64) string { return fmt.Sprintf("%.2g", f) },
}).Parse(pageText))

// titles say what a level asks.
var titles = map[string]string{
	"bytes":    "Are the model's files the same?",
	"start":    "Does its server start the same way?",
	"greeting": "Does it greet with the same words?",
	"style":    "Does it think the same at every step?",
	"memory":   "Does it remember the same?",
}

// Page writes v as one HTML page that needs nothing else: no script, no network, no font.
func Page(w io.Writer, v *Verdict) error {
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("write the verdict's page: %w", err)
	}
	return nil
}
