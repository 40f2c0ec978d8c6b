package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/trust"
)

func newSign(a *app) *cobra.Command {
	var at registryFlags
	key, file := "", ""
	forms := []string{}
	c := &cobra.Command{
		Use:   "sign DIR|REF",
		Short: "Sign an appliance with its SBOM and provenance",
		Long: `Sign the index of an appliance, and with it the digests of all that it consists of: its layers, disks, recipe and
lock; then its SBOM and its provenance. The signatures are cosign's, in its two forms, and stand beside the appliance. What
the key signed before is not signed again.`,
		Example: "  agibake sign out/demo-1.0.0 --key cosign.key\n  agibake sign registry.example/agi/demo:1.0.0 --key cosign.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			for _, form := range forms {
				if !slices.Contains([]string{trust.Bundle, trust.Legacy}, form) {
					return usage(c, fmt.Errorf("--form %q: not bundle or legacy", form))
				}
			}
			return a.sign(c.Context(), &at, args[0], key, file, forms)
		},
	}
	c.Flags().StringVar(&key, "key", "cosign.key", "`FILE` with the private key")
	passwordFile(c, &file)
	c.Flags().StringSliceVar(&forms, "form", []string{trust.Bundle, trust.Legacy}, "`LIST` of bundle and legacy, the forms of cosign's signatures")
	c.Flags().Lookup("form").DefValue = "bundle,legacy"
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) sign(ctx context.Context, at *registryFlags, reference, file, passwordFile string, forms []string) error {
	p, err := at.open(ctx, reference)
	if err != nil {
		return err
	}
	key, err := a.openKey(ctx, file, passwordFile)
	if err != nil {
		return err
	}
	called := p.appliance.Name
	if p.repo != nil {
		called = p.name
	}
	made, err := trust.Sign(ctx, p.store, trust.Of(p.appliance), key, trust.SignOptions{Reference: called, Forms: forms})
	if err != nil {
		return err
	}
	x := p.appliance
	if a.jsonOut {
		return a.printJSON(map[string]any{"name": x.Name, "version": x.Version, "digest": x.Index.Digest, "key": key.String(), "made": append([]string{}, made...)})
	}
	did := strings.Join(made, ", ")
	if len(made) == 0 {
		did = "nothing to do: the key signed it before"
	}
	fmt.Fprintf(a.stdout, "%s %s\n", x.Name, x.Version)
	fmt.Fprintf(a.stdout, "  %s\n", x.Index.Digest)
	a.fact("key", "%s", key.Public().Fingerprint())
	a.fact("signed", "%s", did)
	return nil
}
