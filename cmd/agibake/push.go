package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/inputs"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/registry"
)

type pushFlags struct {
	at        registryFlags
	mountFrom string
	inputs    bool
}

func newPush(a *app) *cobra.Command {
	f := &pushFlags{}
	c := &cobra.Command{
		Use:   "push DIR HOST/REPOSITORY[:TAG]",
		Short: "Send an appliance to a registry",
		Long: `Send an appliance with its SBOM, provenance and signatures to a registry. Only what the registry lacks is sent; a
push that was cut goes on where it stopped. Without a tag it is called by its version. --inputs also stores what it was
baked from (packages, images, models), so that it can be baked again when the archives are gone.`,
		Example: "  agibake push out/demo-1.0.0 registry.example/agi/demo",
		Args:    cobra.ExactArgs(2),
		RunE:    func(c *cobra.Command, args []string) error { return a.push(c.Context(), f, args[0], args[1]) },
	}
	c.Flags().StringVar(&f.mountFrom, "mount-from", "", "`HOST/REPOSITORY` of the same registry that has some of it already")
	c.Flags().BoolVar(&f.inputs, "inputs", false, "store what it was baked from too")
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// pushReport is what push --json prints.
type pushReport struct {
	Reference string         `json:"reference"`
	Digest    digest.Digest  `json:"digest"`
	Sent      registry.Sent  `json:"sent"`
	Inputs    *registry.Sent `json:"inputs,omitempty"`
}

func (a *app) push(ctx context.Context, f *pushFlags, from, to string) error {
	if !isRegistry(to) {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%q names no registry", to)), "write HOST/REPOSITORY:TAG")
	}
	p, err := f.at.open(ctx, from)
	if err != nil {
		return err
	}
	if last := to[strings.LastIndexByte(to, '/'):]; !strings.ContainsAny(last, ":@") {
		to += ":" + p.appliance.Version
	}
	repo, err := f.at.repository(ctx, to)
	if err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	r := pushReport{Reference: to, Digest: p.appliance.Index.Digest}
	if f.inputs { // first: who finds the appliance can bake it
		if r.Inputs, err = f.pushInputs(ctx, p, repo.String(), show); err != nil {
			return err
		}
	}
	sent, err := registry.Push(ctx, p.store, p.appliance.Index, repo, registry.PushOptions{MountFrom: f.mountFrom}, show)
	if p.layout != nil && errors.Is(err, artifact.ErrNotFound) && fault.HintOf(err) == "" {
		err = fault.Hint(err, "a part of it is not in "+from+": pull it without --format first")
	}
	if err != nil {
		return err
	}
	done()
	r.Sent = *sent
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "%s %s is at %s\n", p.appliance.Name, p.appliance.Version, to)
	fmt.Fprintf(a.stdout, "  %s\n", r.Digest)
	a.fact("sent", "%s", sentText(*sent))
	if r.Inputs != nil {
		a.fact("inputs", "%s", sentText(*r.Inputs))
	}
	return nil
}

func sentText(s registry.Sent) string {
	return fmt.Sprintf("%s in %d blobs; %d were there, %d taken over", size(s.Bytes), s.Sent, s.Skipped, s.Mounted)
}

// pushInputs stores what the appliance was baked from, out of the cache.
func (f *pushFlags) pushInputs(ctx context.Context, p *place, repository string, show progress.Func) (*registry.Sent, error) {
	l, err := bake.ReadLock(ctx, p.store, p.appliance)
	if err != nil {
		return nil, err
	}
	store, err := cas.OpenDefault()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	dir, err := os.MkdirTemp("", "agibake-inputs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	layout, d, err := inputs.Layout(ctx, filepath.Join(dir, "oci"), l, store)
	if err != nil {
		return nil, fmt.Errorf("inputs of %s %s: %w", p.appliance.Name, p.appliance.Version, err)
	}
	repo, err := f.at.repository(ctx, repository+":"+inputs.Tag(p.appliance.Index.Digest))
	if err != nil {
		return nil, err
	}
	return registry.Push(ctx, layout, d, repo, registry.PushOptions{MountFrom: f.mountFrom}, show)
}
