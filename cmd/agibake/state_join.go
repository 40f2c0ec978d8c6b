package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/erasure"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/parts"
	"github.com/agibake/agibake/internal/progress"
)

type joinFlags struct {
	at     registryFlags
	keys   keyFlags
	to     string
	set    string
	repair bool
}

func newStateJoin(a *app) *cobra.Command {
	f := &joinFlags{}
	c := &cobra.Command{
		Use:   "join PLACE… [--to oci:FOLDER]",
		Short: "Restore a snapshot from its parts, and repair them",
		Long: `Look for the parts of a snapshot, say which are missing, cut off or damaged, and restore it with its names to a layout
on disk. Every byte is held against its digest. Damaged parts count where they are good. --repair writes damaged parts
anew where they lie, and missing ones to places that have none; it needs no key. Without --to parts are examined only.`,
		Example: `  agibake state join /media/a ssh://me@nas/agi --to oci:saiga -i key.txt
  agibake state join /media/a /media/new ssh://me@nas/agi --repair
  agibake state join /media/a registry.example/agi/parts`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.stateJoin(c.Context(), f, args) },
	}
	c.Flags().StringVar(&f.to, "to", "", "`REF` of the layout that receives the snapshot: oci:FOLDER")
	c.Flags().StringVar(&f.set, "set", "", "`ID` of the set that is meant, or its start, where parts of several lie")
	c.Flags().BoolVar(&f.repair, "repair", false, "write missing and damaged parts anew")
	f.keys.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// joinReport is what state join --json prints, also when too few parts are there.
type joinReport struct {
	Set      string           `json:"set"`
	Name     string           `json:"name"`
	Needed   int              `json:"needed"`
	Of       int              `json:"of"`
	Parts    []joinPart       `json:"parts"`
	Missing  []int            `json:"missing"`
	Repaired []parts.Repaired `json:"repaired"`
	Left     []int            `json:"left"`  // missing parts that there was no place for
	Short    int              `json:"short"` // so many more are needed
	Joined   *parts.Joined    `json:"joined,omitempty"`
	To       string           `json:"to,omitempty"`
}

type joinPart struct {
	Number  int           `json:"number"` // 0 if it cannot be told
	Where   string        `json:"where"`
	Size    int64         `json:"size"`
	State   erasure.State `json:"state"`
	Damaged int64         `json:"damaged"` // stripes of it
	Stripes int64         `json:"stripes"`
}

func (a *app) stateJoin(ctx context.Context, f *joinFlags, texts []string) error {
	if err := f.check(); err != nil {
		return err
	}
	show, done := a.progress()
	defer done()
	lost := func(err error) { show.Warn("join", clean(err.Error())) } // the others may suffice
	places, err := f.at.partPlaces(ctx, texts, lost)
	if err != nil {
		return err
	}
	p, err := parts.Find(ctx, places, f.set, lost)
	if err != nil {
		return err
	}
	r := joinReport{Repaired: []parts.Repaired{}, Left: []int{}, Parts: []joinPart{}, Missing: []int{}}
	err = p.Examine(ctx, show)
	if p.Report != nil {
		r.take(p)
	}
	if err == nil && f.repair {
		var left []int
		r.Repaired, left, err = p.Repair(ctx, show)
		r.Repaired, r.Left = append([]parts.Repaired{}, r.Repaired...), append([]int{}, left...)
	}
	if err == nil && f.to != "" {
		r.Joined, err = a.join(ctx, p, f, show)
		r.To = f.to
	}
	done()
	if p.Report == nil || ctx.Err() != nil {
		return err
	}
	if a.jsonOut {
		return errors.Join(err, a.printJSON(r))
	}
	a.joinDone(r)
	return err
}

// check looks at --to before anything is read. The layout is made when there is something to put into it.
func (f *joinFlags) check() error {
	if f.to == "" {
		return nil
	}
	rest, ok := strings.CutPrefix(f.to, "oci:")
	if _, tag := lock.SplitLayout(rest); ok && tag == "" && rest != "" {
		return nil
	}
	err := fault.Mark(fault.Input, fmt.Errorf("%q is no layout without a tag: the snapshot keeps its own", f.to))
	return fault.Hint(err, "write --to oci:FOLDER; agibake state push brings it to a registry")
}

func (a *app) join(ctx context.Context, p *parts.Parts, f *joinFlags, show progress.Func) (*parts.Joined, error) {
	to, err := f.at.minds(ctx, f.to, true)
	if err != nil {
		return nil, err
	}
	unlock, err := to.layout.Use(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return p.Join(ctx, to.layout, a.opener(&minds{name: "parts:" + p.Report.ID}, &f.keys), show)
}

func (r *joinReport) take(p *parts.Parts) {
	s := p.Report
	r.Set, r.Name, r.Needed, r.Of, r.Short = s.ID, s.Name, s.Needed, s.Set.Parts, s.Short
	r.Missing = append(r.Missing, s.Missing...)
	for i, one := range s.Parts {
		f := p.Found[i]
		r.Parts = append(r.Parts, joinPart{one.Number, f.Where, f.Size, one.State, one.BadStripes, one.Checked})
	}
}

func (a *app) joinDone(r joinReport) {
	fmt.Fprintf(a.stdout, "%s, %s\n", clean(r.Name), neededText(r.Needed, r.Of))
	a.fact("set", "%s", r.Set)
	for _, p := range r.Parts {
		name, text := fmt.Sprintf("part %d", p.Number), string(p.State)
		if p.Number == 0 {
			name = "part ?"
		}
		if p.Damaged > 0 {
			text += fmt.Sprintf(" in %d of %d places", p.Damaged, p.Stripes)
		}
		a.fact(name, "%s  %s  %s", text, size(p.Size), p.Where)
	}
	for _, n := range r.Missing {
		a.fact(fmt.Sprintf("part %d", n), "missing")
	}
	for _, n := range r.Repaired {
		a.fact("repaired", "part %d  %s", n.Number, n.Where)
	}
	for _, n := range r.Left {
		a.fact("not written", "part %d: name a place for it that has none", n)
	}
	if j := r.Joined; j != nil {
		fmt.Fprintf(a.stdout, "the snapshot is in %s\n  %s\n", r.To, j.Digest)
		a.list("tags", j.Tags)
		a.fact("read back", "%s in %d blobs", size(j.Bytes), j.Blobs)
	}
}
