package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
)

// Repository is a place with several snapshots: a layout, or a repository of a registry.
type Repository interface {
	artifact.Store
	Tags(ctx context.Context) ([]string, error)
	Delete(ctx context.Context, d digest.Digest) error
}

// Listed is a snapshot as it shows from outside.
type Listed struct {
	Digest  digest.Digest   `json:"digest"`
	Tags    []string        `json:"tags"`
	Created time.Time       `json:"created"`
	Tree    string          `json:"tree,omitempty"` // equal for equal states; not of what is sealed
	Parent  digest.Digest   `json:"parent,omitempty"`
	Sealed  bool            `json:"sealed"`
	Size    int64           `json:"size"` // bytes of its blobs, shared or not
	parts   []v1.Descriptor // manifests
}

// Latest is the tag that stands for what was captured last.
const Latest = "latest"

// TimeTag is the tag that a snapshot of a moment gets.
func TimeTag(t time.Time) string { return t.UTC().Format(timeTag) }

// Moment is the second that a snapshot of a time gets: the first one from there whose tag is free, since a second has room
// for one.
func Moment(ctx context.Context, s Reader, t time.Time) time.Time {
	for t = t.UTC().Truncate(time.Second); ; t = t.Add(time.Second) {
		if _, err := s.Resolve(ctx, TimeTag(t)); err != nil {
			return t
		}
	}
}

const timeTag = "2006-01-02T15-04-05Z"

// given tells whether a person chose a tag.
func given(tag string) bool {
	_, err := time.Parse(timeTag, tag)
	return tag != Latest && err != nil
}

// List lists the snapshots that have names, the newest first. What else the repository holds is passed over.
func List(ctx context.Context, s Repository) ([]Listed, error) {
	tags, err := s.Tags(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(tags)
	var list []Listed
	for _, tag := range tags {
		d, err := s.Resolve(ctx, tag)
		if errors.Is(err, artifact.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(list, func(l Listed) bool { return l.Digest == d.Digest }); i >= 0 {
			list[i].Tags = append(list[i].Tags, tag)
			continue
		}
		x, err := Look(ctx, s, d)
		if errors.Is(err, ErrNoSnapshot) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", tag, err)
		}
		l := Listed{Digest: d.Digest, Tags: []string{tag}, Created: x.Info.Created, Tree: x.Info.Tree, Parent: x.Info.Parent, Sealed: x.Seal != nil, parts: x.Parts}
		for _, part := range x.Parts {
			n, err := layersOf(ctx, s, part)
			if err != nil {
				return nil, fmt.Errorf("tag %s: %w", tag, err)
			}
			l.Size += n
		}
		list = append(list, l)
	}
	slices.SortStableFunc(list, func(a, b Listed) int { return b.Created.Compare(a.Created) })
	return list, nil
}

func layersOf(ctx context.Context, s artifact.Reader, d v1.Descriptor) (n int64, err error) {
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return 0, err
	}
	m, err := artifact.Decode(raw, d)
	if err != nil {
		return 0, err
	}
	for _, l := range m.Layers {
		n += l.Size
	}
	return n, nil
}

// Keep says which snapshots Prune spares.
type Keep struct {
	Last   int  // the newest
	Daily  int  // days with a snapshot, of which the newest stays
	Weekly int  // the same for weeks (ISO 8601)
	Tagged bool // those that a person named
}

// Divide tells which of the listed snapshots stay. Days and weeks are those of UTC.
func (k Keep) Divide(list []Listed) (keep, drop []Listed) {
	days, weeks := map[string]bool{}, map[string]bool{}
	for i, l := range list { // the newest first
		at := l.Created.UTC()
		year, week := at.ISOWeek()
		day, weekly := at.Format("2006-01-02"), fmt.Sprint(year, week)
		stays := i < k.Last || k.Tagged && slices.ContainsFunc(l.Tags, given)
		if !days[day] && len(days) < k.Daily {
			stays, days[day] = true, true
		}
		if !weeks[weekly] && len(weeks) < k.Weekly {
			stays, weeks[weekly] = true, true
		}
		if stays {
			keep = append(keep, l)
		} else {
			drop = append(drop, l)
		}
	}
	return keep, drop
}

// Remove deletes snapshots with what refers to them, and of what they consist only what none of those that stay needs. It
// returns the bytes that were freed, -1 where the registry frees them later.
func Remove(ctx context.Context, s Repository, drop, keep []Listed) (freed int64, err error) {
	needed := map[digest.Digest]bool{}
	for _, l := range keep {
		for _, p := range l.parts {
			needed[p.Digest] = true
		}
	}
	layout, local := s.(*artifact.Layout)
	for _, l := range drop {
		if !local {
			referrers, err := s.Referrers(ctx, l.Digest)
			if err != nil {
				return 0, err
			}
			for _, r := range referrers {
				if err := s.Delete(ctx, r.Digest); err != nil {
					return 0, err
				}
			}
		}
		if err := s.Delete(ctx, l.Digest); err != nil {
			return 0, err
		}
		for _, p := range l.parts {
			if local || needed[p.Digest] {
				continue
			}
			if err := s.Delete(ctx, p.Digest); err != nil {
				return 0, err
			}
			needed[p.Digest] = true
		}
	}
	if !local {
		return -1, nil
	}
	return layout.Sweep(ctx)
}

// byPath orders changes.
func byPath(a, b Change) int { return cmp.Compare(a.Path, b.Path) }
