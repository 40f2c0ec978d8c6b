package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/provenance"
	"github.com/agibake/agibake/internal/sbom"
)

type sbomFlags struct {
	at         registryFlags
	trust      trustFlags
	provenance bool
}

func newSBOM(a *app) *cobra.Command {
	f := &sbomFlags{}
	c := &cobra.Command{
		Use:   "sbom DIR|REF",
		Short: "Show what an appliance consists of, and its licences",
		Long: `Show the SBOM of an appliance: every package, container image and model with its version and licence. --json prints
the document, SPDX 2.3; --provenance shows how it was made instead, as an in-toto statement with SLSA provenance. With a
key or a policy, only what that signed is shown; else nobody vouches for it.`,
		Example: "  agibake sbom out/demo-1.0.0 --json > demo.spdx.json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.sbom(c.Context(), c, f, args[0]) },
	}
	c.Flags().BoolVar(&f.provenance, "provenance", false, "show how it was made")
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print the document itself")
	return c
}

func (a *app) sbom(ctx context.Context, c *cobra.Command, f *sbomFlags, reference string) error {
	p, err := f.at.open(ctx, reference)
	if err != nil {
		return err
	}
	text, err := a.document(ctx, c, f, p)
	if err != nil {
		return err
	}
	switch {
	case a.jsonOut:
		_, err = a.stdout.Write(append(bytes.TrimRight(text, "\n"), '\n'))
		return err
	case f.provenance:
		return a.printProvenance(text)
	}
	return a.printSBOM(text)
}

// document reads SBOM or provenance: the signed one where somebody is trusted.
func (a *app) document(ctx context.Context, c *cobra.Command, f *sbomFlags, p *place) ([]byte, error) {
	index := p.appliance.Index.Digest
	if len(f.trust.keys) == 0 && f.trust.policy == "" {
		fmt.Fprintln(a.stderr, "not verified: --key FILE shows what that key signed")
		if f.provenance {
			return provenance.Read(ctx, p.store, index)
		}
		return sbom.Read(ctx, p.store, index)
	}
	policy, err := f.trust.load(c)
	if err != nil {
		return nil, err
	}
	v, err := a.judge(ctx, p, policy)
	if err != nil {
		return nil, err
	}
	text := v.SBOM
	if f.provenance {
		text = v.Provenance
	}
	if text == nil {
		return nil, fault.Mark(fault.Untrusted, errors.New("no trusted key signed it"))
	}
	return text, nil
}

func (a *app) printSBOM(text []byte) error {
	items, err := sbom.List(text)
	if err != nil {
		return err
	}
	kinds := map[string]int{}
	for _, i := range items {
		if kinds[i.Kind]++; i.Kind == "appliance" {
			fmt.Fprintf(a.stdout, "%s %s\n", clean(i.Name), clean(i.Version))
			continue
		}
		fmt.Fprintf(a.stdout, "  %-9s %-24s %-20s %s\n", clean(i.Kind), clean(i.Name), clean(i.Version), clean(i.License))
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if kind != "appliance" {
			a.fact(kind, "%d", kinds[kind])
		}
	}
	return nil
}

func (a *app) printProvenance(text []byte) error {
	var s provenance.Statement
	if err := json.Unmarshal(text, &s); err != nil {
		return fault.Mark(fault.Input, fmt.Errorf("read the provenance: %w", err))
	}
	for _, r := range s.Subject {
		a.named("made", r)
	}
	d, run := s.Predicate.BuildDefinition, s.Predicate.RunDetails
	a.fact("builder", "%s, agibake %s", run.Builder.ID, run.Builder.Version["agibake"])
	for _, r := range run.Builder.Dependencies {
		a.named("program", r)
	}
	a.fact("recipe", "%s", d.External.Recipe.Digest["sha256"])
	a.fact("lock", "%s", d.Internal.Lock.Digest["sha256"])
	a.list("disks", d.External.Formats)
	a.fact("materials", "%d; --json lists them", len(d.Dependencies))
	return nil
}

// named shows a thing with its SHA-256 below.
func (a *app) named(what string, r provenance.Resource) {
	a.fact(what, "%s", r.Name)
	a.fact("", "%s", r.Digest["sha256"])
}
