package fidelity

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// text is a verdict for a person.
func text(t testing.TB, v *Verdict) string {
	t.Helper()
	if v == nil {
		return "no verdict"
	}
	var out bytes.Buffer
	if err := Text(&out, v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// hostile is a verdict with words that try to get out of their place.
func hostile(t *testing.T) *Verdict {
	t.Helper()
	b, target := recorded(t)
	v, err := Check(t.Context(), target, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	v.Levels[2].fail(`"Кто ты?" is answered differently from token 5 on: “</p><script>alert(1)</script>\x1b[31m”, was “Я — маленькая модель”`)
	v.Levels[0].note("models/README.md is new")
	v.Answers[0].Is, v.Answers[0].Same = "</blockquote><script>alert(2)</script>\x1b]0;title\a", false
	v.conclude()
	return v
}

func TestText(t *testing.T) {
	out := text(t, hostile(t))
	for _, line := range strings.Split(out, "\n") {
		if n := utf8.RuneCountInString(line); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"Not the same mind: greeting failed.", "3 greeting  FAIL", "1 bytes     pass", "note: models/README.md is new", "  was    Я — маленькая модель"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\a") {
		t.Error("control characters reach the terminal")
	}
}

func TestPage(t *testing.T) {
	v := hostile(t)
	var out bytes.Buffer
	if err := Page(&out, v); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, bad := range []string{"<script", "http://", "https://", " src=", "url(", "@import"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"Not the same mind: greeting failed.", "Does it remember the same?", "&lt;script&gt;alert(2)", "width=device-width", "prefers-color-scheme: dark"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Index(page, "Not the same mind") > strings.Index(page, "Five levels") {
		t.Error("the verdict is not on top")
	}
	if path := os.Getenv("AGIBAKE_PAGE"); path != "" { // to look at it
		write(t, path, page)
	}
	data, err := json.Marshal(v)
	if err != nil || !strings.Contains(string(data), `"same":false`) {
		t.Errorf("%v: %.200s", err, data)
	}
}
