package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/format"
)

func newBake(a *app) *cobra.Command {
	o := bake.Options{}
	c := &cobra.Command{
		Use:   "bake RECIPE",
		Short: "Make the appliance's disk images from a recipe",
		Long: `Resolve the recipe, download what it needs, build the system and write DIR/NAME-VERSION/ with the disk
images, the rootfs as an OCI layout, SHA256SUMS and bake.json. What was built before is not built again.`,
		Example: `  agibake bake recipes/demo.yaml
  agibake bake recipes/demo.yaml --format qcow2,ova -o /srv/images --offline`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Recipe = args[0]
			return a.bake(c.Context(), c, o)
		},
	}
	c.Flags().StringVarP(&o.Out, "out", "o", "out", "`FOLDER` that receives NAME-VERSION/")
	c.Flags().StringSliceVar(&o.Formats, "format", nil, "`LIST` of raw, qcow2, vmdk, ova; the recipe's outputs by default")
	c.Flags().StringVar(&o.Compression, "compression", "zstd", "`METHOD` of qcow2: zstd or zlib")
	c.Flags().BoolVar(&o.Offline, "offline", false, "use cached inputs only")
	setFlag(c, &o.Set)
	c.Flags().IntVarP(&o.Jobs, "jobs", "j", 0, "`N` parallel workers; one a processor by default")
	c.Flags().StringVar(&o.Agid, "agid", "", "`FILE` with the agent's program; the one beside agibake by default")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print bake.json on stdout")
	return c
}

func (a *app) bake(ctx context.Context, c *cobra.Command, o bake.Options) error {
	for _, f := range o.Formats {
		if !slices.Contains(format.Kinds, format.Kind(f)) {
			return usage(c, fmt.Errorf("--format %q: not raw, qcow2, vmdk or ova", f))
		}
	}
	if o.Compression != "zstd" && o.Compression != "zlib" {
		return usage(c, fmt.Errorf("--compression %q: not zstd or zlib", o.Compression))
	}
	o.Version = version
	p, done := a.progress()
	r, dir, err := bake.Run(ctx, o, p)
	done()
	if err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(r)
	}
	for _, out := range r.Outputs {
		fmt.Fprintf(a.stdout, "%-10s %s/%s\n", size(out.Size), dir, out.File)
	}
	what := "baked"
	if r.Cached {
		what = "nothing changed,"
	}
	var slow []string
	for _, s := range r.Stages {
		if s.Seconds >= 0.05 && !s.Cached && !r.Cached {
			slow = append(slow, fmt.Sprintf("%s %.1f", s.Name, s.Seconds))
		}
	}
	fmt.Fprintf(a.stdout, "%s %s %s in %.1f s", what, r.Name, r.Version, r.Seconds)
	if len(slow) > 0 {
		fmt.Fprintf(a.stdout, " (%s)", strings.Join(slow, ", "))
	}
	fmt.Fprintf(a.stdout, "\nstart it:  agibake boot %s\n", dir)
	return nil
}
