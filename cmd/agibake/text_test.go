package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestReflow(t *testing.T) {
	long := strings.Repeat("word ", 30)
	got := reflow("Title:\n  kept   as is\n\n" + long + "\n" + long + "\n\nend")
	want := "Title:\n  kept   as is\n\n" + strings.TrimSpace(strings.Repeat("word ", 16)) + "\n"
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "word\n\nend") || strings.Count(got, "word") != 60 {
		t.Errorf("got %q", got)
	}
	if long := strings.Repeat("x", 100); reflow("a "+long+" b") != "a\n"+long+"\nb" {
		t.Errorf("a long word: %q", reflow("a "+long+" b"))
	}
}

// TestHelpFitsATerminal prints the help of every verb.
func TestHelpFitsATerminal(t *testing.T) {
	var out bytes.Buffer
	var print func(c *cobra.Command)
	print = func(c *cobra.Command) {
		out.Reset()
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns {
				t.Errorf("%s --help: %d columns: %s", c.CommandPath(), n, line)
			}
		}
		for _, sub := range c.Commands() {
			print(sub)
		}
	}
	print(newRoot(&app{stdout: &out, stderr: &out}))
}
