package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/agibake/agibake/internal/recipe"
)

// clean keeps control characters of foreign text away from the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// columns is how wide help texts are.
const columns = 80

// reflow breaks the paragraphs of a help text anew, so that they fit a terminal. Lines that begin with a space stay.
func reflow(text string) string {
	var b strings.Builder
	used := 0
	for line := range strings.Lines(text) {
		if line == "\n" || line[0] == ' ' {
			if used > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(line)
			used = 0
			continue
		}
		for _, word := range strings.Fields(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case used == 0:
			case used+1+n > columns:
				b.WriteByte('\n')
				used = 0
			default:
				b.WriteByte(' ')
				used++
			}
			b.WriteString(word)
			used += n
		}
	}
	return b.String()
}

// setFlag adds --set, which gives a recipe's variables their values.
func setFlag(c *cobra.Command, values *map[string]string) {
	c.Flags().StringToStringVar(values, "set", nil, "`NAME=VALUE` for ${NAME} in the recipe; may be repeated")
	c.Flags().Lookup("set").DefValue = ""
}

// sizeFlag reads a flag such as 4GiB as bytes.
func sizeFlag(c *cobra.Command, name, text string, preset int64) (int64, error) {
	if text == "" {
		return preset, nil
	}
	var s recipe.Size
	if err := yaml.Unmarshal([]byte(text), &s); err != nil || s <= 0 {
		return 0, usage(c, fmt.Errorf("--%s %q: not a size such as 4GiB", name, text))
	}
	return int64(s), nil
}
