package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/recipes"
)

func newInit(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a commented recipe to start from",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return a.init(dir)
		},
	}
}

// init writes the recipe, what it extends and the schema into dir. It overwrites nothing.
func (a *app) init(dir string) error {
	names := []string{recipes.Base, recipes.Schema, recipes.Start} // what others need first
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			err := fault.Mark(fault.Input, fmt.Errorf("init: %s exists already", path))
			return fault.Hint(err, "agibake init OTHER-FOLDER, or remove the file")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fault.Mark(fault.Input, fmt.Errorf("init: %w", err))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	for _, name := range names {
		data, err := recipes.Files.ReadFile(name)
		if err != nil {
			return fmt.Errorf("init: %w", err)
		}
		path := filepath.Join(dir, name)
		if err := atomicfile.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("init: %w", err)
		}
		fmt.Fprintln(a.stdout, "wrote "+path)
	}
	recipe := filepath.Join(dir, recipes.Start)
	if strings.ContainsAny(recipe, " '\"$&;()<>|*?[]#~`\\!") {
		recipe = "'" + strings.ReplaceAll(recipe, "'", `'\''`) + "'"
	}
	fmt.Fprintf(a.stdout, "next: agibake bake %s --set MODEL=file:/path/to/model.gguf\n", recipe)
	return nil
}
