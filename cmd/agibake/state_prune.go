package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/state"
)

func newStatePrune(a *app) *cobra.Command {
	var at registryFlags
	var keep state.Keep
	dry := false
	c := &cobra.Command{
		Use:   "prune REF",
		Short: "Remove old snapshots",
		Long: `Remove the snapshots that no rule keeps, and of their bytes what no other snapshot needs. Snapshots that a person
named with --tag stay unless --keep-tagged=false.`,
		Example: "  agibake state prune oci:saiga --keep-last 7 --keep-weekly 8 --dry-run",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if keep.Last < 0 || keep.Daily < 0 || keep.Weekly < 0 {
				return usage(c, errors.New("a number of snapshots is not negative"))
			}
			if keep.Last+keep.Daily+keep.Weekly == 0 {
				return usage(c, errors.New("nothing says what to keep: --keep-last, --keep-daily or --keep-weekly"))
			}
			return a.statePrune(c.Context(), &at, args[0], keep, dry)
		},
	}
	c.Flags().IntVar(&keep.Last, "keep-last", 0, "keep the newest `N`")
	c.Flags().IntVar(&keep.Daily, "keep-daily", 0, "keep the newest of each of the last `N` days that have one")
	c.Flags().IntVar(&keep.Weekly, "keep-weekly", 0, "keep the newest of each of the last `N` weeks that have one")
	c.Flags().BoolVar(&keep.Tagged, "keep-tagged", true, "keep those that a person named")
	c.Flags().BoolVar(&dry, "dry-run", false, "only show what would go")
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) statePrune(ctx context.Context, at *registryFlags, reference string, keep state.Keep, dry bool) error {
	m, err := at.minds(ctx, reference, false)
	if err != nil {
		return err
	}
	list, err := state.List(ctx, m)
	if err != nil {
		return err
	}
	stay, drop := keep.Divide(list)
	freed := int64(0)
	if !dry {
		if freed, err = state.Remove(ctx, m.Repository, drop, stay); err != nil {
			return err
		}
	}
	if a.jsonOut {
		return a.printJSON(struct {
			Kept    []state.Listed `json:"kept"`
			Removed []state.Listed `json:"removed"`
			Freed   int64          `json:"freed"` // bytes; -1 where the registry frees them later
			DryRun  bool           `json:"dryRun"`
		}{append([]state.Listed{}, stay...), append([]state.Listed{}, drop...), freed, dry})
	}
	if len(drop) > 0 {
		a.snapshots(drop)
	}
	switch {
	case dry:
		fmt.Fprintf(a.stdout, "%d of %d snapshots would go\n", len(drop), len(list))
	case freed < 0:
		fmt.Fprintf(a.stdout, "%d of %d snapshots are removed; the registry frees their bytes when it collects\n", len(drop), len(list))
	default:
		fmt.Fprintf(a.stdout, "%d of %d snapshots are removed, which frees %s\n", len(drop), len(list), size(freed))
	}
	return nil
}
