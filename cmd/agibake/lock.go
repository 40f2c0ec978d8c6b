package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/lock"
)

func newLock(a *app) *cobra.Command {
	o := bake.LockOptions{}
	c := &cobra.Command{
		Use:   "lock RECIPE",
		Short: "Pin every input of a recipe and show what changed",
		Long: `Resolve the recipe's packages, images, models and files and write them, with address, size and SHA-256,
to a lock beside it (demo.yaml: demo.lock). What an existing lock pins stays as long as it answers the recipe;
--update pins everything anew.`,
		Example: `  agibake lock recipes/demo.yaml
  agibake lock recipes/demo.yaml --update`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Recipe = args[0]
			return a.lock(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.Update, "update", false, "pin everything anew")
	c.Flags().BoolVar(&o.Offline, "offline", false, "use no network")
	setFlag(c, &o.Set)
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

func (a *app) lock(ctx context.Context, o bake.LockOptions) error {
	p, done := a.progress()
	pinned, err := bake.Lock(ctx, o, p)
	done()
	if err != nil {
		return err
	}
	report := lockReport{Lock: pinned.Path, Digest: lock.Digest(pinned.Lock), Written: pinned.Written, Changes: lock.Diff(pinned.Old, pinned.Lock)}
	report.Inputs, report.Bytes = lock.Total(pinned.Lock)
	return a.printLock(report, pinned.Old == nil)
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
