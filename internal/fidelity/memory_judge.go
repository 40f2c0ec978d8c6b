package fidelity

import (
	"context"
	"math"
)

// sameDistance is how far distances may be apart, relative to 1 or to themselves: processors add up in different orders.
const sameDistance = 1e-5

func (x *examiner) checkMemory(ctx context.Context, b *Baseline, _ *Verdict) (Level, error) {
	m := b.Memory
	switch {
	case m == nil || m.Documents == nil && m.Collections == nil:
		return notAsked("the baseline has no memory"), nil
	case (m.Documents == nil || x.target.Root == "") && (m.Collections == nil || x.vectors == nil):
		return notAsked("neither a state folder nor a Chroma server that the baseline knows of was given"), nil
	}
	is, err := x.memory(ctx, m)
	if err != nil {
		return Level{}, err
	}
	return judgeMemory(m, is, x.options.Frozen), nil
}

// judgeMemory wants everything that was remembered. More than that is noted, or fails where frozen is true.
func judgeMemory(was, is *Memory, frozen bool) Level {
	l := Level{Status: Pass}
	grown := l.note
	if frozen {
		grown = l.fail
	}
	documents, vectors := 0, 0
	switch {
	case was.Documents == nil:
		l.note("documents: not asked, the baseline has none")
	case is.Documents == nil:
		l.note("documents: not asked, no state folder was given")
	default:
		documents = judgeDocuments(&l, grown, was.Documents, is.Documents)
	}
	switch {
	case was.Collections == nil && is.Collections == nil && len(was.Unread) > 0:
		l.note("vectors in %s: not asked, no Chroma server was given", some(was.Unread))
	case was.Collections == nil && is.Collections != nil:
		l.note("vectors: not asked, the baseline was recorded without Chroma")
	case was.Collections != nil && is.Collections == nil:
		l.note("vectors: not asked, no Chroma server was given")
	case was.Collections != nil:
		vectors = judgeCollections(&l, grown, was.Collections, is.Collections)
	}
	if l.Status == Pass {
		l.first("%s and %s: all there and unchanged", plural(documents, "document record"), plural(vectors, "vector"))
	}
	return l
}

// judgeDocuments returns how many records there were; a file that has none counts as one.
func judgeDocuments(l *Level, grown func(string, ...any), was, is []Document) (count int) {
	now := map[string]Document{}
	for _, d := range is {
		now[d.Path] = d
	}
	for _, old := range was {
		d, there := now[old.Path]
		delete(now, old.Path)
		if old.Records == nil {
			count++
		} else {
			count += old.Records.Count
		}
		switch {
		case !there:
			l.fail("%s is missing", old.Path)
		case (old.Records == nil) != (d.Records == nil) || d.SHA256 != old.SHA256:
			l.fail("%s was changed", old.Path)
		case old.Records != nil:
			judgeRecords(l, grown, old.Path, old.Records, d.Records)
		}
	}
	for _, d := range is {
		if _, extra := now[d.Path]; extra {
			grown("%s is new", d.Path)
		}
	}
	return count
}

func judgeRecords(l *Level, grown func(string, ...any), what string, was, is *Records) {
	switch text, more := lost(was, is); {
	case text != "":
		l.fail("%s: %s", what, text)
	case more > 0:
		grown("%s has grown by %s", what, plural(more, "record"))
	}
}

// judgeCollections returns how many vectors there were.
func judgeCollections(l *Level, grown func(string, ...any), was, is []Collection) (count int) {
	now := map[string]Collection{}
	for _, k := range is {
		now[k.name()] = k
	}
	for _, old := range was {
		count += old.Records.Count
		k, there := now[old.name()]
		delete(now, old.name())
		if !there {
			l.fail("collection %s is missing, with %s", old.Name, plural(old.Records.Count, "vector"))
			continue
		}
		judgeRecords(l, grown, "collection "+old.Name, &old.Records, &k.Records)
		judgeQueries(l, old, k)
	}
	for _, k := range is {
		if _, extra := now[k.name()]; extra {
			grown("collection %s is new", k.Name)
		}
	}
	return count
}

func judgeQueries(l *Level, was, is Collection) {
	differ, first := 0, ""
	for i, q := range was.Queries[:min(len(was.Queries), len(is.Queries))] {
		found := map[string]float64{}
		for _, h := range is.Queries[i].Hits {
			found[h.ID] = h.Distance
		}
		for _, h := range q.Hits {
			d, there := found[h.ID]
			if there && math.Abs(d-h.Distance) <= sameDistance*max(1, math.Abs(h.Distance)) {
				continue
			}
			if differ++; first == "" {
				first = h.ID
			}
			break
		}
	}
	if differ > 0 {
		l.fail("collection %s: %d of %s find something else (first at %q)", was.Name, differ, plural(len(was.Queries), "query"), short(first, 80))
	}
}
