package main

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/trust"
)

func newStateVerify(a *app) *cobra.Command {
	var at registryFlags
	var keys keyFlags
	var signed trustFlags
	c := &cobra.Command{
		Use:   "verify REF",
		Short: "Read a snapshot back and hold every byte against its digest",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.stateVerify(c.Context(), c, &at, &keys, &signed, args[0])
		},
	}
	keys.flags(c)
	signed.flags(c)
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) stateVerify(ctx context.Context, c *cobra.Command, at *registryFlags, keys *keyFlags, signed *trustFlags, reference string) error {
	m, x, err := at.look(ctx, reference)
	if err != nil {
		return err
	}
	verdict, err := a.judgeState(ctx, c, m, signed, x)
	if err != nil {
		return err
	}
	if x, err = state.Read(ctx, m, x.Index, a.opener(m, keys)); err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	v, err := x.Verify(ctx, m, show)
	if err != nil {
		return err
	}
	done()
	if a.jsonOut {
		return a.printJSON(struct {
			Digest  digest.Digest   `json:"digest"`
			Read    *state.Verified `json:"read"`
			Verdict *trust.Verdict  `json:"verdict"`
		}{x.Index.Digest, v, verdict})
	}
	fmt.Fprintf(a.stdout, "every digest holds\n  %s\n", x.Index.Digest)
	a.signers(verdict)
	a.fact("read", "%s in %d blobs, %d files", size(v.Bytes), v.Blobs, v.Files)
	return nil
}
