package fidelity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/progress"
)

const (
	tenant     = "default_tenant"
	pageSize   = 256     // vectors fetched at once
	maxVectors = 2 << 20 // of a collection
	queries    = 8       // of a collection
	hits       = 10      // of a query
	maxHits    = 1000    // asked for in a collection that has grown
)

// Collection is a collection of Chroma.
type Collection struct {
	Database  string  `json:"database"`
	Name      string  `json:"name"`
	Dimension int     `json:"dimension"` // 0 as long as it is empty
	Records   Records `json:"records"`   // id, vector, document and metadata of each, in the order of their hashes
	Queries   []Query `json:"queries"`
}

// Query is a question to a collection: a vector of its own, and what was nearest.
type Query struct {
	Vector []float32 `json:"vector"`
	Hits   []Hit     `json:"hits"` // nearest first
}

// Hit is one thing found.
type Hit struct {
	ID       string  `json:"id"`
	Distance float64 `json:"distance"` // by the collection's own measure
}

func (c Collection) name() string { return c.Database + "/" + c.Name }

// examine reads all collections of all databases of the default tenant. It puts b's queries where b has the collection.
func (c *chroma) examine(ctx context.Context, b *Memory, o Options) ([]Collection, error) {
	old := map[string]*Collection{}
	if b != nil {
		for i, k := range b.Collections {
			old[k.name()] = &b.Collections[i]
		}
	}
	base := "/api/v2/tenants/" + tenant + "/databases"
	databases, err := paged[struct{ Name string }](ctx, c, base)
	if err != nil {
		return nil, err
	}
	list := []Collection{}
	for _, d := range databases {
		at := base + "/" + url.PathEscape(d.Name) + "/collections"
		found, err := paged[collectionReply](ctx, c, at)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			k, err := c.collection(ctx, at+"/"+url.PathEscape(r.ID), d.Name, r, old[d.Name+"/"+r.Name], o)
			if err != nil {
				return nil, fmt.Errorf("collection %s: %w", r.Name, err)
			}
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b Collection) int { return strings.Compare(a.name(), b.name()) })
	return list, nil
}

// collection reads every record and asks the queries.
func (c *chroma) collection(ctx context.Context, at, database string, r collectionReply, old *Collection, o Options) (Collection, error) {
	k := Collection{Database: database, Name: r.Name, Queries: []Query{}}
	if r.Dimension != nil {
		k.Dimension = *r.Dimension
	}
	sums, samples, err := c.read(ctx, at, r.Name, o)
	if err != nil {
		return k, err
	}
	t := newTally(0)
	for _, s := range sums {
		t.add(s)
	}
	k.Records = *t.end()
	want := hits
	if old != nil {
		samples = nil
		for _, q := range old.Queries {
			samples = append(samples, q.Vector)
		}
		want = min(hits+max(0, k.Records.Count-old.Records.Count), maxHits) // newer ones may push in
	}
	for _, v := range samples {
		found, err := c.query(ctx, at, v, want)
		if err != nil {
			return k, err
		}
		k.Queries = append(k.Queries, Query{v, found})
	}
	return k, nil
}

// read returns the hashes of all records in order, and the vectors of the first few by hash: the same ones in any copy.
func (c *chroma) read(ctx context.Context, at, name string, o Options) (sums [][sha256.Size]byte, samples [][]float32, err error) {
	type sample struct {
		sum    [sha256.Size]byte
		vector []float32
	}
	var first []sample
	bySum := func(a, b sample) int { return bytes.Compare(a.sum[:], b.sum[:]) }
	for {
		page, err := c.page(ctx, at, len(sums))
		if err != nil {
			return nil, nil, err
		}
		for _, v := range page {
			canonical, err := json.Marshal(v) // metadata by key
			if err != nil {
				return nil, nil, err
			}
			s := sample{sha256.Sum256(canonical), v.Embedding}
			sums = append(sums, s.sum)
			if len(v.Embedding) > 0 {
				first = append(first, s)
			}
		}
		slices.SortFunc(first, bySum)
		first = first[:min(len(first), queries)]
		o.Progress.Send(progress.Event{Stage: stage, Item: "vectors of " + name, Done: int64(len(sums))})
		switch {
		case len(sums) > maxVectors:
			return nil, nil, bad("more than %d records", maxVectors)
		case len(page) == 0:
			slices.SortFunc(sums, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
			for _, s := range first {
				samples = append(samples, s.vector)
			}
			return sums, samples, nil
		}
	}
}
