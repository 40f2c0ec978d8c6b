package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/trust"
)

func newStateSign(a *app) *cobra.Command {
	var at registryFlags
	key, file := "", ""
	c := &cobra.Command{
		Use:   "sign REF",
		Short: "Sign a snapshot",
		Long:  "Sign the index of a snapshot, and with it the digests of all that it consists of, as agibake sign does with appliances.",
		Args:  cobra.ExactArgs(1),
		RunE:  func(c *cobra.Command, args []string) error { return a.stateSign(c.Context(), &at, args[0], key, file) },
	}
	c.Flags().StringVar(&key, "key", "cosign.key", "`FILE` with the private key")
	passwordFile(c, &file)
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) stateSign(ctx context.Context, at *registryFlags, reference, file, passwordFile string) error {
	m, x, err := at.look(ctx, reference)
	if err != nil {
		return err
	}
	key, err := a.openKey(ctx, file, passwordFile)
	if err != nil {
		return err
	}
	made, err := trust.Sign(ctx, m, subject(m, x), key, trust.SignOptions{Reference: strings.TrimPrefix(m.name, "oci:"), Forms: []string{trust.Bundle, trust.Legacy}})
	if err != nil {
		return err
	}
	if a.jsonOut {
		return a.printJSON(map[string]any{"digest": x.Index.Digest, "key": key.String(), "made": append([]string{}, made...)})
	}
	did := strings.Join(made, ", ")
	if len(made) == 0 {
		did = "nothing to do: the key signed it before"
	}
	fmt.Fprintf(a.stdout, "the snapshot of %s\n  %s\n", x.Info.Created.UTC().Format("2006-01-02 15:04:05 UTC"), x.Index.Digest)
	a.fact("key", "%s", key.Public().Fingerprint())
	a.fact("signed", "%s", did)
	return nil
}
