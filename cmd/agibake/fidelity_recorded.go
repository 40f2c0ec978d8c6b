package main

import (
	"fmt"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/state"
)

// recorded tells what was recorded, and warns of what will not be found again.
func (a *app) recorded(b *fidelity.Baseline, r *recordReport, home *bound) error {
	for i, path := range r.Strays {
		if i == 5 {
			fmt.Fprintf(a.stderr, "warning: and %d more\n", len(r.Strays)-i)
			break
		}
		fmt.Fprintf(a.stderr, "warning: %s is not as in the snapshot, so a restored mind will fail the check\n", clean(path))
	}
	if len(r.Strays) > 0 {
		fmt.Fprintln(a.stderr, "hint: capture the state again, and record while it rests")
	}
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "the mind is recorded: %s\n", strings.Join(r.Levels, ", "))
	if home != nil {
		fmt.Fprintf(a.stdout, "  %s\n", r.Digest)
		a.fact("beside", "the snapshot of %s", home.x.Info.Created.UTC().Format("2006-01-02 15:04:05 UTC"))
		a.fact("in", "%s", home.m.name)
	} else {
		a.fact("file", "%s, %s", r.File, size(int64(r.Size)))
	}
	a.fact("ran on", "%s", b.Origin)
	if b.Bytes != nil {
		tensors := 0
		for _, f := range b.Bytes.Files {
			tensors += len(f.Tensors)
		}
		a.fact("model", "%d files, %d tensors", len(b.Bytes.Files), tensors)
	}
	if g := b.Greeting; g != nil && len(g.Answers) > 0 {
		a.fact("greeting", "%.60s", g.Answers[0].Question)
	}
	if s := b.Style; s != nil {
		places := 0
		for _, p := range s.Passages {
			places += len(p.Cuts)
		}
		a.fact("style", "%d places, noise floor %.2g nats", places, s.Floor.KL)
	}
	if m := b.Memory; m != nil {
		a.fact("memory", "%d documents, %d collections", len(m.Documents), len(m.Collections))
	}
	if r.Sealed {
		a.fact("sealed", "%s", home.x.Seal.Secret.ID()[:16])
	}
	if r.Signed != "" {
		a.fact("signed by", "%s", strings.TrimPrefix(r.Signed, "sha256:"))
	}
	return nil
}

func levelsOf(b *fidelity.Baseline) (list []string) {
	for _, l := range []struct {
		name  string
		asked bool
	}{{"bytes", b.Bytes != nil}, {"start", b.Start != nil}, {"greeting", b.Greeting != nil}, {"style", b.Style != nil}, {"memory", b.Memory != nil}} {
		if l.asked {
			list = append(list, l.name)
		}
	}
	return list
}

// strays names what was found otherwise than the snapshot has it: whoever restores it would fail the check. Other weights
// are an error, since the snapshot is then of another mind.
func strays(b *fidelity.Baseline, t *state.Tree) ([]string, error) {
	list, has := []string{}, map[string]state.Entry{}
	for _, e := range t.Entries {
		has[e.Path] = e
	}
	if b.Bytes != nil {
		for _, f := range b.Bytes.Files {
			switch e, ok := has[f.Path]; {
			case !ok:
				list = append(list, f.Path)
			case e.Kind == state.File && e.Sum.String() != f.SHA256:
				err := fault.Mark(fault.Input, fmt.Errorf("%s is not the one in the snapshot", f.Path))
				return nil, fault.Hint(err, "capture the state again, or name the snapshot of this mind")
			}
		}
	}
	if b.Memory != nil {
		for _, d := range b.Memory.Documents {
			e, ok := has[d.Path]
			grown := d.Records != nil && e.Records >= 0 && int64(d.Records.Count) > e.Records
			if !ok || e.Kind == state.File && (grown || d.SHA256 != "" && d.SHA256 != e.Sum.String()) {
				list = append(list, d.Path)
			}
		}
	}
	return list, nil
}
