package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/state"
)

func newStateDiff(a *app) *cobra.Command {
	var at registryFlags
	var keys keyFlags
	c := &cobra.Command{
		Use:   "diff REF REF",
		Short: "Show what differs between two snapshots",
		Long: `Show what differs between two snapshots, file by file, and record by record where a file is made of records: lines of
.jsonl by their id, keys of .json such as settings.`,
		Example: "  agibake state diff oci:saiga:before-training oci:saiga",
		Args:    cobra.ExactArgs(2),
		RunE:    func(c *cobra.Command, args []string) error { return a.stateDiff(c.Context(), &at, &keys, args) },
	}
	keys.flags(c)
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) stateDiff(ctx context.Context, at *registryFlags, keys *keyFlags, references []string) error {
	var sides [2]state.Side
	for i, reference := range references {
		m, err := at.minds(ctx, reference, false)
		if err != nil {
			return err
		}
		sides[i].From = m
		if sides[i].Snapshot, err = a.read(ctx, m, keys); err != nil {
			return err
		}
	}
	list, err := state.Diff(ctx, sides[0], sides[1])
	if err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(append([]state.Change{}, list...))
	}
	marks := map[string]string{"added": "+", "removed": "-", "changed": "~", "mode": "m"}
	for _, c := range list {
		fmt.Fprintf(a.stdout, "%s %s", marks[c.What], clean(c.Path))
		switch c.What {
		case "changed":
			fmt.Fprintf(a.stdout, "  %s -> %s", size(c.Before), size(c.After))
		case "added":
			fmt.Fprintf(a.stdout, "  %s", size(c.After))
		}
		if r := c.Records; r != nil {
			fmt.Fprintf(a.stdout, "  records: %d added, %d removed, %d changed", r.Added, r.Removed, r.Changed)
		}
		fmt.Fprintln(a.stdout)
		if c.Records == nil || c.What != "changed" {
			continue
		}
		for _, s := range c.Records.Some {
			fmt.Fprintf(a.stdout, "    %s %s\n", s[:1], clean(s[1:]))
		}
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stdout, "the same state")
	}
	return nil
}
