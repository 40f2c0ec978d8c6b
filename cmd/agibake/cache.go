package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/namespace"
)

func newCache(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Show and prune what is kept between bakes",
		Long: `The cache ($XDG_CACHE_HOME/agibake, or ~/.cache/agibake) holds downloads by their SHA-256, package lists and
the finished stages of bakes. Everything in it can be made again.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.cacheList() },
	}
	ls := &cobra.Command{
		Use: "ls", Short: "Show what the cache holds", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.cacheList() },
	}
	var o cas.PruneOptions
	var age time.Duration
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove what was not used for long, or more",
		Long:  "Remove what killed runs left behind and, by default, whatever was not used for 30 days.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if age < 0 {
				return usage(c, errors.New("--older-than: an age is not negative"))
			}
			if !o.Stages && !o.All || c.Flags().Changed("older-than") {
				o.Before = time.Now().Add(-age)
			}
			return a.cachePrune(c.Context(), o)
		},
	}
	prune.Flags().BoolVar(&o.Stages, "stages", false, "remove all built stages; downloads stay")
	prune.Flags().BoolVar(&o.All, "all", false, "remove everything")
	prune.Flags().DurationVar(&age, "older-than", 30*24*time.Hour, "remove what was not used for this `TIME`")
	for _, c := range []*cobra.Command{c, ls, prune} {
		c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	}
	c.AddCommand(ls, prune)
	return c
}

func (a *app) cacheList() error {
	store, err := cas.OpenDefault()
	if err != nil {
		return err
	}
	defer store.Close()
	all, err := store.List()
	if err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(map[string]any{"folder": store.Dir(), "entries": append([]cas.Entry{}, all...)})
	}
	for _, e := range all {
		if e.Kind == cas.KindStage {
			fmt.Fprintf(a.stdout, "%-10s %10s  %s  %s\n", e.Kind, size(e.Size), e.LastUse.Format(time.DateTime), e.Name)
		}
	}
	a.printKinds(all)
	fmt.Fprintln(a.stdout, "in "+store.Dir())
	return nil
}

func (a *app) cachePrune(ctx context.Context, o cas.PruneOptions) error {
	store, err := cas.OpenDefault()
	if err != nil {
		return err
	}
	defer store.Close()
	store.Remove = func(path string) error { return namespace.RemoveAll(ctx, path) }
	gone, err := store.Prune(o)
	if err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(map[string]any{"folder": store.Dir(), "removed": append([]cas.Entry{}, gone...)})
	}
	fmt.Fprintln(a.stdout, "removed from "+store.Dir()+":")
	a.printKinds(gone)
	return nil
}

// printKinds prints number and size of each kind of entry, and their sum.
func (a *app) printKinds(all []cas.Entry) {
	number, bytes := map[cas.Kind]int{}, map[cas.Kind]int64{}
	var sum int64
	for _, e := range all {
		number[e.Kind]++
		bytes[e.Kind] += e.Size
		sum += e.Size
	}
	for _, k := range slices.SortedFunc(maps.Keys(number), func(x, y cas.Kind) int { return cmp.Compare(x, y) }) {
		fmt.Fprintf(a.stdout, "%-10s %10s  %d\n", k, size(bytes[k]), number[k])
	}
	fmt.Fprintf(a.stdout, "%-10s %10s  %d\n", "total", size(sum), len(all))
}
