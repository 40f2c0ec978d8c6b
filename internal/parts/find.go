package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/agibake/agibake/internal/erasure"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Parts are those of one set that were found.
type Parts struct {
	Found  []*Found
	Places []Place // all that could be reached
	Report *erasure.Report
}

// Find looks for parts. Where there are those of several sets, set says which is meant: the start of its ID. A place that
// cannot be reached counts as one that has none; lost is told why.
func Find(ctx context.Context, places []Place, set string, lost func(error)) (*Parts, error) {
	p := &Parts{}
	var all []*Found
	for _, at := range places {
		list, err := at.Find(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			lost(fmt.Errorf("look for parts at %s: %w", at, err))
			continue
		}
		p.Places = append(p.Places, at)
		all = append(all, list...)
	}
	var sets []string
	for _, f := range all {
		if f.Set != "" && strings.HasPrefix(f.Set, set) && !slices.ContainsFunc(sets, func(s string) bool { return strings.HasPrefix(s, f.Set) }) {
			sets = append(sets, fmt.Sprintf("%s %q", f.Set, f.Title))
		}
	}
	switch {
	case len(sets) > 1:
		err := fault.Mark(fault.Input, fmt.Errorf("there are parts of %d snapshots: %s", len(sets), strings.Join(sets, "; ")))
		return nil, fault.Hint(err, "say which is meant: --set "+sets[0][:8])
	case len(sets) == 0:
		return nil, fault.Hint(fault.Mark(fault.Input, errors.New("no part is there")), "name the folders, hosts or registries that agibake state split wrote to")
	}
	for _, f := range all { // one without head and tail is of this set, if its name does not say otherwise
		if f.Set != "" && strings.HasPrefix(sets[0], f.Set) || f.Set == "" && strings.Contains(f.Name, "."+sets[0][:8]+".") {
			p.Found = append(p.Found, f)
		}
	}
	return p, nil
}

// sources opens all parts; done is told the bytes that are read.
func (p *Parts) sources(ctx context.Context, done func(n int)) (list []erasure.Source, free func()) {
	var open []*reader
	for _, f := range p.Found {
		r := f.reader(ctx)
		open = append(open, r)
		list = append(list, erasure.Source{Label: f.Where, R: &told{r, done}, Size: f.Size})
	}
	return list, func() {
		for _, r := range open {
			r.Close()
		}
	}
}

type told struct {
	io.ReaderAt
	done func(n int)
}

func (t *told) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.ReaderAt.ReadAt(p, off)
	t.done(n)
	return n, err
}

// Examine reads all parts to their ends and fills in Report. It fails if they do not suffice, and says what is missing.
func (p *Parts) Examine(ctx context.Context, show progress.Func) error {
	var total int64
	for _, f := range p.Found {
		total += f.Size
	}
	var read atomic.Int64
	list, free := p.sources(ctx, func(n int) { show.Count("examine", "parts", min(read.Add(int64(n)), total), total) })
	defer free()
	var err error
	if p.Report, err = erasure.Examine(ctx, list); err != nil {
		return fmt.Errorf("examine the parts: %w", err)
	}
	if p.Report.Short > 0 { // Join says best why
		if _, err = erasure.Join(ctx, list, io.Discard); err == nil {
			err = erasure.ErrTooFew
		}
	}
	return err
}
