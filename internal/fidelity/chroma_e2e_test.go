package fidelity

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	realchroma "github.com/agibake/agibake/internal/referee/chroma"
)

func embedding(i int) []float32 {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	v := make([]float32, 8)
	for j := range v {
		v[j] = float32(r.NormFloat64())
	}
	return v
}

// thoughts are records from one number to before another.
func thoughts(from, to int) (list []realchroma.Record) {
	for i := from; i < to; i++ {
		text := fmt.Sprint("Мысль ", i)
		list = append(list, realchroma.Record{ID: fmt.Sprint("id", i), Document: &text, Embedding: embedding(i), Metadata: realchroma.Object{"n": i, "weight": float64(i) / 3}})
	}
	return list
}

// fill makes a collection of n records.
func fill(t *testing.T, s *realchroma.Server, name string, n int) realchroma.Collection {
	t.Helper()
	c, err := s.Collection(name, "")
	for i := 0; i < n && err == nil; i += 500 {
		err = c.Add(thoughts(i, min(n, i+500))...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestE2EChroma changes a real database in small ways.
func TestE2EChroma(t *testing.T) {
	referee.E2E(t)
	data := t.TempDir()
	server := realchroma.Serve(t, data)
	c := fill(t, server, "thoughts", 2000)
	fill(t, server, "few", 3)
	target := Target{Chroma: server.URL}
	b, err := Record(t.Context(), target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	post := func(path string, body any) {
		t.Helper()
		if err := c.Post(path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name, path string
		body       map[string]any
		fails      bool
		reason     string
	}{
		{name: "nothing"},
		{name: "a changed vector", path: "/update", body: map[string]any{"ids": []string{"id77"}, "embeddings": [][]float32{embedding(78)}}, fails: true, reason: "1 of 2000 records are missing or changed"},
		{name: "a changed document", path: "/update", body: map[string]any{"ids": []string{"id77"}, "documents": []string{"anders"}}, fails: true, reason: "missing or changed"},
		{name: "a changed metadata", path: "/update", body: map[string]any{"ids": []string{"id77"}, "metadatas": []map[string]any{{"n": 78}}}, fails: true, reason: "missing or changed"},
		{name: "a missing vector", path: "/delete", body: map[string]any{"ids": []string{"id77"}}, fails: true, reason: "1 of 2000 records are missing"},
		{name: "grown", path: "/add", body: map[string]any{"ids": []string{"id5000"}, "embeddings": [][]float32{embedding(5000)}, "documents": []string{"new"}, "metadatas": []map[string]any{{"n": 1}}}, reason: "has grown by 1 record"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.path != "" {
				post(x.path, x.body)
			}
			v, err := Check(t.Context(), target, b, Options{})
			if err != nil || v.Same == x.fails || !strings.Contains(strings.Join(strings.Fields(text(t, v)), " "), x.reason) {
				t.Errorf("%v\n%s", err, text(t, v))
			}
			if err := c.Upsert(thoughts(77, 78)...); err != nil { // as it was
				t.Fatal(err)
			}
		})
	}
	if v, err := Check(t.Context(), target, b, Options{Frozen: true}); err != nil || v.Same {
		t.Errorf("a frozen memory may grow: %v", err)
	}
	post("/delete", map[string]any{"ids": []string{"id5000"}})
	if v, err := Check(t.Context(), target, b, Options{Frozen: true}); err != nil || !v.Same {
		t.Errorf("as it was: %v\n%s", err, text(t, v))
	}
	moved := t.TempDir()
	if err := os.CopyFS(moved, os.DirFS(data)); err != nil { // nobody writes
		t.Fatal(err)
	}
	if v, err := Check(t.Context(), Target{Chroma: realchroma.Serve(t, moved).URL}, b, Options{Frozen: true}); err != nil || !v.Same {
		t.Errorf("a copy of the folder: %v\n%s", err, text(t, v))
	}
}
