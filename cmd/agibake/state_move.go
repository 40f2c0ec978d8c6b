package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/registry"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/trust"
)

func newStatePush(a *app) *cobra.Command {
	var at registryFlags
	c := &cobra.Command{
		Use:   "push oci:FOLDER[:TAG] HOST/REPOSITORY[:TAG]",
		Short: "Send a snapshot to a registry",
		Long: `Send a snapshot with its signatures from a layout to a registry. What the registry has is not sent, and a push that
was cut goes on where it stopped. Without a tag it gets the name that its time makes, and "latest".`,
		Example: "  agibake state push oci:saiga registry.example/agi/saiga",
		Args:    cobra.ExactArgs(2),
		RunE:    func(c *cobra.Command, args []string) error { return a.statePush(c.Context(), &at, args[0], args[1]) },
	}
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) statePush(ctx context.Context, at *registryFlags, from, to string) error {
	if !isRegistry(to) {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%q names no registry", to)), "write HOST/REPOSITORY:TAG")
	}
	m, err := at.minds(ctx, from, false)
	if err != nil {
		return err
	}
	if m.layout == nil {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s is no layout", from)), "pull it to a layout first: agibake state pull "+from+" oci:FOLDER")
	}
	d, err := m.find(ctx)
	if err != nil {
		return err
	}
	x, err := state.Look(ctx, m, d)
	if err != nil {
		return err
	}
	references := []string{to}
	if last := to[strings.LastIndexByte(to, '/'):]; !strings.ContainsAny(last, ":@") {
		references = []string{to + ":" + state.TimeTag(x.Info.Created), to + ":" + state.Latest}
	}
	show, done := a.progress()
	defer done()
	var total registry.Sent
	for i, reference := range references {
		repo, err := at.repository(ctx, reference)
		if err != nil {
			return err
		}
		sent, err := registry.Push(ctx, m.layout, x.Index, repo, registry.PushOptions{}, show)
		if err != nil {
			return err
		}
		if i == 0 {
			total = *sent
		}
	}
	done()
	if a.jsonOut {
		return a.printJSON(struct {
			Reference string        `json:"reference"`
			Digest    digest.Digest `json:"digest"`
			Sent      registry.Sent `json:"sent"`
		}{references[0], d.Digest, total})
	}
	fmt.Fprintf(a.stdout, "the snapshot is at %s\n  %s\n", references[0], d.Digest)
	a.fact("sent", "%s", sentText(total))
	return nil
}

func newStatePull(a *app) *cobra.Command {
	var at registryFlags
	var signed trustFlags
	c := &cobra.Command{
		Use:   "pull HOST/REPOSITORY[:TAG] oci:FOLDER",
		Short: "Fetch a snapshot from a registry, once it is proven",
		Long: `Verify a snapshot in a registry and fetch it to a layout on disk. What is there is not fetched, and a pull that was
cut goes on where it stopped.`,
		Example: "  agibake state pull registry.example/agi/saiga oci:saiga --key cosign.pub",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.statePull(c.Context(), c, &at, &signed, args[0], args[1])
		},
	}
	signed.flags(c)
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) statePull(ctx context.Context, c *cobra.Command, at *registryFlags, signed *trustFlags, from, to string) error {
	if !isRegistry(from) {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%q names no registry", from)), "write HOST/REPOSITORY:TAG")
	}
	if !strings.HasPrefix(to, "oci:") {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%q is no layout", to)), "write oci:"+to)
	}
	m, err := at.minds(ctx, from, false)
	if err != nil {
		return err
	}
	d, err := m.find(ctx)
	if err != nil {
		return err
	}
	x, err := state.Look(ctx, m, d)
	if err != nil {
		return err
	}
	verdict, err := a.judgeState(ctx, c, m, signed, x)
	if err != nil {
		return err
	}
	into, err := at.minds(ctx, to, true)
	if err != nil {
		return err
	}
	unlock, err := into.layout.Use(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	tags := []string{into.reference}
	if into.reference == "" {
		tags = []string{state.TimeTag(x.Info.Created), state.Latest}
	}
	show, done := a.progress()
	defer done()
	var got *registry.Got
	for _, tag := range tags {
		g, err := registry.Pull(ctx, m.repo, x.Index, into.layout, registry.PullOptions{Tag: tag}, show)
		if err != nil {
			return err
		}
		if got == nil {
			got = g
		}
	}
	done()
	if a.jsonOut {
		return a.printJSON(struct {
			Digest  digest.Digest  `json:"digest"`
			Got     *registry.Got  `json:"got"`
			Verdict *trust.Verdict `json:"verdict"`
		}{d.Digest, got, verdict})
	}
	fmt.Fprintf(a.stdout, "the snapshot is in %s as %s\n  %s\n", to, tags[0], d.Digest)
	a.signers(verdict)
	a.fact("fetched", "%s; %d blobs were there", size(got.Bytes), got.Present)
	return nil
}
