package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
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
	m, x, err := at.look(ctx, from)
	if err != nil {
		return err
	}
	if m.layout == nil {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s is no layout", from)), "pull it to a layout first: agibake state pull "+from+" oci:FOLDER")
	}
	reference, latest := to, false
	if last := to[strings.LastIndexByte(to, '/'):]; !strings.ContainsAny(last, ":@") {
		reference, latest = to+":"+state.TimeTag(x.Info.Created), true
	}
	repo, err := at.repository(ctx, reference)
	if err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	sent, err := registry.Push(ctx, m.layout, x.Index, repo, registry.PushOptions{}, show)
	if err == nil && latest {
		err = alsoLatest(ctx, m, x, repo)
	}
	if err != nil {
		return err
	}
	done()
	if a.jsonOut {
		return a.printJSON(struct {
			Reference string        `json:"reference"`
			Digest    digest.Digest `json:"digest"`
			Sent      registry.Sent `json:"sent"`
		}{reference, x.Index.Digest, *sent})
	}
	fmt.Fprintf(a.stdout, "the snapshot is at %s\n  %s\n", reference, x.Index.Digest)
	a.fact("sent", "%s", sentText(*sent))
	return nil
}

// alsoLatest gives a snapshot that was brought somewhere its second name there.
func alsoLatest(ctx context.Context, from artifact.Reader, x *state.Snapshot, to state.Repository) error {
	raw, err := from.Manifest(ctx, x.Index)
	if err != nil {
		return err
	}
	return to.PutManifest(ctx, x.Index, raw, state.Latest)
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
	m, x, err := at.look(ctx, from)
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
	tag, latest := into.reference, false
	if tag == "" {
		tag, latest = state.TimeTag(x.Info.Created), true
	}
	show, done := a.progress()
	defer done()
	got, err := registry.Pull(ctx, m.repo, x.Index, into.layout, registry.PullOptions{Tag: tag}, show)
	if err == nil && latest {
		err = alsoLatest(ctx, m, x, into.layout)
	}
	if err != nil {
		return err
	}
	done()
	if a.jsonOut {
		return a.printJSON(struct {
			Digest  digest.Digest  `json:"digest"`
			Got     *registry.Got  `json:"got"`
			Verdict *trust.Verdict `json:"verdict"`
		}{x.Index.Digest, got, verdict})
	}
	fmt.Fprintf(a.stdout, "the snapshot is in %s as %s\n  %s\n", to, tag, x.Index.Digest)
	a.signers(verdict)
	a.fact("fetched", "%s; %d blobs were there", size(got.Bytes), got.Present)
	return nil
}
