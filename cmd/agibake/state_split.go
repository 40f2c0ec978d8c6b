package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/parts"
	"github.com/agibake/agibake/internal/seal"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/trust"
)

type splitFlags struct {
	captureFlags // who can read the parts
	trust        trustFlags
	out          []string
	parts        int
	needed       int
	all          bool
	readable     bool
}

const placeUsage = "a folder, ssh://USER@HOST/PATH, or HOST/REPOSITORY[:TAG]"

func newStateSplit(a *app) *cobra.Command {
	f := &splitFlags{}
	c := &cobra.Command{
		Use:   "split REF --out PLACE --out PLACE --out PLACE",
		Short: "Keep a snapshot in three places, any two of which restore it",
		Long: `Cut a snapshot into parts, each of which knows what it belongs to and proves each of its bytes: three by default, any
two of which restore it. A place is a folder, a folder of a host (ssh://USER@HOST/PATH), or a repository of a registry.
Parts hide nothing by themselves: a snapshot that is not sealed wants --recipient, --gpg-recipient or --seal-passphrase;
--readable does without.`,
		Example: `  agibake state split oci:saiga --out /media/a --out ssh://me@nas/agi \
      --out registry.example/agi/parts --recipient age1…
  agibake state split oci:saiga --all --out a --out b --seal-passphrase
  agibake state split oci:saiga --parts 5 --needed 3 --out a --out b --out c …`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.stateSplit(c.Context(), c, f, args[0]) },
	}
	c.Flags().StringArrayVar(&f.out, "out", nil, "`PLACE` of one part: "+placeUsage+"; given once for each")
	c.Flags().IntVar(&f.parts, "parts", 0, "`N` parts; as many as places by default")
	c.Flags().IntVar(&f.needed, "needed", 0, "`K` parts restore; 2 where there are 3")
	c.Flags().BoolVar(&f.all, "all", false, "all parts are needed")
	c.Flags().BoolVar(&f.readable, "readable", false, "leave readable what is not sealed")
	f.sealFlags(c)
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// count completes the numbers.
func (f *splitFlags) count(c *cobra.Command) error {
	if f.parts == 0 {
		f.parts = len(f.out)
	}
	if f.parts != len(f.out) || f.parts == 0 {
		return usage(c, fmt.Errorf("%d places for %d parts: give --out once for each", len(f.out), max(f.parts, 3)))
	}
	for i, out := range f.out {
		if slices.Contains(f.out[:i], out) {
			return usage(c, fmt.Errorf("--out %s comes twice: parts belong in different places", out))
		}
	}
	switch {
	case f.all && f.needed != 0:
		return usage(c, errors.New("--all and --needed exclude each other"))
	case f.all:
		f.needed = f.parts
	case f.needed == 0 && f.parts == 3:
		f.needed = 2
	case f.needed == 0:
		return usage(c, fmt.Errorf("say how many of %d parts restore: --needed K, or --all", f.parts))
	}
	return nil
}

// sealing decides what the parts are sealed with: nothing where the snapshot is.
func (f *splitFlags) sealing(ctx context.Context, a *app, c *cobra.Command, isSealed bool) (*state.Seal, error) {
	named := len(f.recipients.Age)+len(f.recipients.GPG) > 0 || f.passphrase
	switch {
	case isSealed && named:
		return nil, usage(c, errors.New("the snapshot is sealed already: whoever can read it can read what the parts give"))
	case named && f.readable:
		return nil, usage(c, errors.New("--readable and recipients exclude each other"))
	case isSealed:
		return nil, nil
	case f.readable:
		text := fmt.Sprintf("whoever has %d of the parts can read the whole state", f.needed)
		fmt.Fprintf(a.stderr, "WARNING: nothing is sealed: %s, and each of parts 1 to %d holds a part of it in plain bytes\n", text, f.needed)
		return nil, nil
	case !named:
		err := fault.Mark(fault.Usage, errors.New("the snapshot is not sealed, and parts hide nothing: even one alone shows pieces of the state"))
		return nil, fault.Hint(err, "--recipient KEY or --seal-passphrase seals the parts; --readable leaves them readable")
	}
	var err error
	if f.passphrase {
		if f.recipients.Passphrase, err = a.passphrase(ctx, "passphrase for the parts", true); err != nil {
			return nil, err
		}
	}
	key := &state.Seal{}
	if key.Secret, err = seal.NewSecret(); err == nil {
		key.Wraps, err = key.Secret.Wrap(ctx, f.recipients)
	}
	return key, err
}

// splitReport is what state split --json prints.
type splitReport struct {
	Digest  digest.Digest  `json:"digest"` // of the snapshot
	Set     string         `json:"set"`
	Parts   []parts.Part   `json:"parts"`
	Needed  int            `json:"needed"`
	Sealed  bool           `json:"sealed"`
	Length  int64          `json:"length"` // of the stream that the parts give
	SHA256  string         `json:"sha256"` // of it
	Verdict *trust.Verdict `json:"verdict,omitempty"`
}

func (a *app) stateSplit(ctx context.Context, c *cobra.Command, f *splitFlags, from string) error {
	if err := f.count(c); err != nil {
		return err
	}
	m, x, err := f.at.look(ctx, from)
	if err != nil {
		return err
	}
	r := splitReport{Digest: x.Index.Digest, Needed: f.needed}
	if r.Verdict, err = a.judgeState(ctx, c, m, &f.trust, x); err != nil {
		return err
	}
	base := "agi-state-" + state.TimeTag(x.Info.Created)
	o := parts.SplitOptions{Needed: f.needed, Base: base, Title: base}
	if o.Seal, err = f.sealing(ctx, a, c, x.Seal != nil); err != nil {
		return err
	}
	if o.Tags, err = m.namesOf(ctx, x.Index.Digest); err != nil {
		return err
	}
	places, err := f.at.partPlaces(ctx, f.out, nil)
	if err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	o.Progress = show
	set, list, err := parts.Split(ctx, m, x.Index, places, o)
	if err != nil {
		return err
	}
	done()
	r.Set, r.Parts, r.Length, r.SHA256, r.Sealed = set.ID, list, set.Length, set.SHA256, o.Seal != nil || x.Seal != nil
	if a.jsonOut {
		return a.printJSON(r)
	}
	a.splitDone(r, from)
	return nil
}

func (a *app) splitDone(r splitReport, from string) {
	fmt.Fprintf(a.stdout, "%s is split, %s\n  %s\n", clean(from), neededText(r.Needed, len(r.Parts)), r.Digest)
	a.fact("set", "%s", r.Set)
	for _, p := range r.Parts {
		a.fact(fmt.Sprintf("part %d", p.Number), "%s  %s", size(p.Size), p.Where)
		a.fact("", "%s", p.SHA256)
	}
}

// neededText says which parts restore.
func neededText(needed, of int) string {
	if needed == of {
		return fmt.Sprintf("all of %d parts are needed", of)
	}
	return fmt.Sprintf("any %d of %d parts restore it", needed, of)
}

// namesOf lists the tags of a snapshot.
func (m *minds) namesOf(ctx context.Context, d digest.Digest) (list []string, err error) {
	tags, err := m.Tags(ctx)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if found, err := m.Resolve(ctx, tag); err == nil && found.Digest == d {
			list = append(list, tag)
		}
	}
	return list, nil
}
