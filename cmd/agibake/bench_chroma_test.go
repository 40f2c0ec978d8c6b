package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/agibake/agibake/internal/referee/chroma"
)

// benchDimension is that of the vectors of small embedding models.
const benchDimension = 384

// fillChroma serves the database in a folder while it writes every step-th record below n; another version has other vectors.
func (b *bench) fillChroma(folder string, n, step int, version uint64) {
	b.Helper()
	b.mkdir(folder)
	s := chroma.Serve(b.T, folder)
	defer s.Stop()
	c, err := s.Collection("thoughts", "")
	b.must(err)
	const batch = 250
	for from := 0; from < n; {
		var records []chroma.Record
		for ; from < n && len(records) < batch; from += step {
			r := rand.New(rand.NewPCG(uint64(from), version))
			vector := make([]float32, benchDimension)
			for i := range vector {
				vector[i] = float32(r.NormFloat64())
			}
			text := fmt.Sprintf("мысль %d", from)
			records = append(records, chroma.Record{ID: fmt.Sprintf("thought-%06d", from), Document: &text, Embedding: vector,
				Metadata: map[string]any{"n": from, "version": version}})
		}
		b.must(c.Upsert(records...))
	}
}
