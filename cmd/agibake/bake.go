package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format"
	"github.com/agibake/agibake/internal/format/ova"
)

func newBake(a *app) *cobra.Command {
	o := bake.Options{}
	f := &bakeFlags{}
	c := &cobra.Command{
		Use:   "bake RECIPE|--inputs REF",
		Short: "Make the appliance's disk images from a recipe",
		Long: `Resolve the recipe, download what it needs, build the system and write DIR/NAME-VERSION/ with the disk
images, the appliance as an OCI layout, SHA256SUMS and bake.json. What was built before is not built again.
With --inputs, what "push --inputs" stored with an appliance in a registry takes the place of the archives; without a
recipe that appliance is baked again from its own lock, once its signature is proven as in verify.`,
		Example: `  agibake bake recipes/demo.yaml
  agibake bake recipes/demo.yaml --format qcow2,ova -o /srv/images --offline`,
		Args: func(c *cobra.Command, args []string) error {
			if f.inputs != "" && len(args) == 0 {
				return nil
			}
			return cobra.ExactArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Recipe = args[0]
			}
			return a.bake(c.Context(), c, f, o)
		},
	}
	c.Flags().StringVarP(&o.Out, "out", "o", "out", "`FOLDER` that receives NAME-VERSION/")
	c.Flags().StringSliceVar(&o.Formats, "format", nil, "`LIST` of raw, qcow2, vmdk, ova; the recipe's outputs by default")
	c.Flags().StringVar(&o.Compression, "compression", "zstd", "`METHOD` of qcow2: zstd or zlib")
	c.Flags().BoolVar(&o.Offline, "offline", false, "use cached inputs only")
	setFlag(c, &o.Set)
	c.Flags().IntVarP(&o.Jobs, "jobs", "j", 0, "`N` parallel workers; one a processor by default")
	c.Flags().StringVar(&o.Agid, "agid", "", "`FILE` with the agent's program; the one beside agibake by default")
	c.Flags().StringVar(&f.inputs, "inputs", "", "`REF` of an appliance whose inputs were stored")
	f.trust.flags(c)
	f.at.flags(c)
	passwordFile(c, &f.password)
	c.Flags().StringVar(&f.ovaKey, "ova-key", "", "`FILE` with an RSA key in PEM that signs the OVA")
	c.Flags().StringVar(&f.ovaCert, "ova-cert", "", "`FILE` with the key's X.509 certificate in PEM")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print bake.json on stdout")
	return c
}

// bakeFlags are those of bake that are no bake.Options.
type bakeFlags struct {
	inputs, password string
	ovaKey, ovaCert  string
	at               registryFlags
	trust            trustFlags
}

// ovaSigner reads what signs the OVA, nil for nothing.
func (f *bakeFlags) ovaSigner(c *cobra.Command) (*ova.Signer, error) {
	if f.ovaKey == "" && f.ovaCert == "" {
		return nil, nil
	}
	if f.ovaKey == "" || f.ovaCert == "" {
		return nil, usage(c, errors.New("--ova-key and --ova-cert go together"))
	}
	var texts [2][]byte
	for i, file := range []string{f.ovaKey, f.ovaCert} {
		var err error
		if texts[i], err = os.ReadFile(file); err != nil {
			return nil, fault.Mark(fault.Input, fmt.Errorf("sign the OVA: %w", err))
		}
	}
	return ova.NewSigner(texts[0], texts[1])
}

// given fills in the stored inputs of an appliance and, where there is no recipe, its lock.
func (a *app) given(ctx context.Context, c *cobra.Command, f *bakeFlags, o *bake.Options) error {
	if f.inputs == "" {
		return nil
	}
	p, err := f.at.open(ctx, f.inputs)
	if err != nil {
		return err
	}
	if o.Recipe == "" {
		policy, err := f.trust.load(c)
		if err != nil {
			return err
		}
		if _, err := a.judge(ctx, p, policy); err != nil {
			return err
		}
		if o.Lock, err = bake.ReadLock(ctx, p.store, p.appliance); err != nil {
			return err
		}
	}
	o.Inputs, err = storedInputs(ctx, p, true)
	return err
}

func (a *app) bake(ctx context.Context, c *cobra.Command, f *bakeFlags, o bake.Options) error {
	for _, f := range o.Formats {
		if !slices.Contains(format.Kinds, format.Kind(f)) {
			return usage(c, fmt.Errorf("--format %q: not raw, qcow2, vmdk or ova", f))
		}
	}
	if o.Compression != "zstd" && o.Compression != "zlib" {
		return usage(c, fmt.Errorf("--compression %q: not zstd or zlib", o.Compression))
	}
	var err error
	if o.OVASigner, err = f.ovaSigner(c); err != nil {
		return err
	}
	o.Version = version
	o.Signer = func(path string) (bake.Sign, error) { return a.signer(ctx, path, f.password) }
	if err := a.given(ctx, c, f, &o); err != nil {
		return err
	}
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
