package main

import (
	"fmt"
	"strings"

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
