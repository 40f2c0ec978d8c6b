package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/state"
)

func newStateLs(a *app) *cobra.Command {
	var at registryFlags
	c := &cobra.Command{
		Use:     "ls REF",
		Short:   "List the snapshots of a place",
		Example: "  agibake state ls oci:/mnt/usb/saiga\n  agibake state ls registry.example/agi/saiga",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.stateLs(c.Context(), &at, args[0]) },
	}
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) stateLs(ctx context.Context, at *registryFlags, reference string) error {
	m, err := at.minds(ctx, reference, false)
	if err != nil {
		return err
	}
	list, err := state.List(ctx, m)
	if err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(append([]state.Listed{}, list...))
	}
	a.snapshots(list)
	return nil
}

// snapshots prints a table of snapshots within 80 columns.
func (a *app) snapshots(list []state.Listed) {
	fmt.Fprintf(a.stdout, "%-19s  %9s  %-12s  %-6s  %s\n", "CAPTURED (UTC)", "SIZE", "TREE", "", "TAGS")
	for _, l := range list {
		tree, sealed := l.Tree, ""
		if l.Sealed {
			tree, sealed = "-", "sealed"
		}
		fmt.Fprintf(a.stdout, "%-19s  %9s  %-12s  %-6s  %s\n", l.Created.UTC().Format("2006-01-02 15:04:05"), size(l.Size), tree[:min(len(tree), 12)], sealed,
			strings.Join(names(l), " "))
	}
}

// names are the tags of a snapshot that say more than its time, or that.
func names(l state.Listed) []string {
	own := state.TimeTag(l.Created)
	list := slices.DeleteFunc(slices.Clone(l.Tags), func(t string) bool { return t == own })
	if len(list) == 0 {
		return l.Tags
	}
	return list
}
