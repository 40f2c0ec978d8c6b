package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/resolve"
)

type lockFlags struct {
	update, offline bool
	set             map[string]string
}

func newLock(a *app) *cobra.Command {
	f := &lockFlags{}
	c := &cobra.Command{
		Use:   "lock RECIPE",
		Short: "Pin every input of a recipe and show what changed",
		Long: `Resolve the recipe's packages, images, models and files and write them, with address, size and SHA-256,
to a lock beside it (demo.yaml: demo.lock). What an existing lock pins stays as long as it answers the recipe;
--update pins everything anew.`,
		Example: `  agibake lock recipes/demo.yaml
  agibake lock recipes/demo.yaml --update`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.lock(c.Context(), args[0], f) },
	}
	c.Flags().BoolVar(&f.update, "update", false, "pin everything anew")
	c.Flags().BoolVar(&f.offline, "offline", false, "use no network")
	c.Flags().StringToStringVar(&f.set, "set", nil, "NAME=VALUE for ${NAME} in the recipe; may be repeated")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// lockReport is what lock --json prints.
type lockReport struct {
	Lock    string        `json:"lock"`
	Digest  string        `json:"digest"`
	Written bool          `json:"written"`
	Inputs  int           `json:"inputs"`
	Bytes   int64         `json:"bytes"`
	Changes []lock.Change `json:"changes"`
}

func (a *app) lock(ctx context.Context, path string, f *lockFlags) error {
	r, err := recipe.Parse(path, recipe.Options{Set: f.set, Getenv: os.LookupEnv})
	if err != nil {
		return err
	}
	file := bake.LockPath(path)
	old, err := lock.Read(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !f.update {
		return err
	}
	store, err := cas.OpenDefault()
	if err != nil {
		return err
	}
	defer store.Close()
	o := resolve.Options{Store: store, BaseDir: filepath.Dir(path), Offline: f.offline, Previous: old}
	if f.update {
		o.Previous = nil
	}
	p, done := a.progress()
	l, err := resolve.Resolve(ctx, r, o, p)
	done()
	if err != nil {
		return err
	}
	data, err := lock.Marshal(l)
	if err != nil {
		return err
	}
	report := lockReport{Lock: file, Digest: lock.Digest(l), Changes: lock.Diff(old, l)}
	report.Inputs, report.Bytes = lock.Total(l)
	if before, _ := os.ReadFile(file); !bytes.Equal(before, data) {
		report.Written = true
		if err := atomicfile.WriteFile(file, data, 0o644); err != nil {
			return fault.Hint(err, "the lock is written beside the recipe; that folder must be writable")
		}
	}
	return a.printLock(report, old == nil)
}

func (a *app) printLock(r lockReport, first bool) error {
	if a.jsonOut {
		if r.Changes == nil {
			r.Changes = []lock.Change{}
		}
		return a.printJSON(r)
	}
	if !first { // the first lock would list everything
		for _, c := range r.Changes {
			fmt.Fprintln(a.stdout, clean(c.String()))
		}
	}
	state := "unchanged"
	if r.Written {
		state = "written"
	}
	fmt.Fprintf(a.stdout, "%s %s: %d inputs, %s\n", r.Lock, state, r.Inputs, size(r.Bytes))
	return nil
}
