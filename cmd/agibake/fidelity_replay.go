package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
)

func newFidelityReplay(a *app) *cobra.Command {
	var f mindFlags
	c := &cobra.Command{
		Use:   "replay TRACES.jsonl --server URL",
		Short: "Run recorded exchanges again and compare",
		Long: `Ask a model's server every exchange of a file of traces again, with the recorded settings, and compare token by token,
or word by word where a trace has no tokens: exit code 0, or 5 if an answer differs. docs/fidelity.md has the form of a
trace; "-" reads them from standard input.`,
		Example: "  agibake fidelity replay logs/traces.jsonl --server http://127.0.0.1:8081",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.server == "" {
				return usage(c, errors.New("nothing says whom to ask: --server http://HOST:PORT"))
			}
			return a.fidelityReplay(c.Context(), c, &f, args[0])
		},
	}
	f.serverFlags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) fidelityReplay(ctx context.Context, c *cobra.Command, f *mindFlags, path string) error {
	target, err := f.target(c)
	if err != nil {
		return err
	}
	traces := io.Reader(os.Stdin)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return fault.Mark(fault.Input, fmt.Errorf("traces: %w", err))
		}
		defer file.Close()
		traces = file
	}
	show, done := a.progress()
	defer done()
	r, err := fidelity.Replay(ctx, target, traces, fidelity.Options{Patience: f.wait, Progress: show})
	if err != nil {
		return unreachable(err)
	}
	done()
	if a.jsonOut {
		err = a.printJSON(r)
	} else {
		err = fidelity.ReplayText(a.stdout, r)
	}
	if err != nil {
		return err
	}
	return r.Err()
}
