package fidelity

import (
	"context"
	"fmt"
)

// chroma speaks Chroma's HTTP API, version 2 (its openapi.json).
type chroma struct{ service }

type collectionReply struct {
	ID        string
	Name      string
	Dimension *int
}

// paged gets a whole list.
func paged[T any](ctx context.Context, c *chroma, path string) (list []T, err error) {
	for {
		var page []T
		if err := c.call(ctx, fmt.Sprintf("%s?limit=%d&offset=%d", path, pageSize, len(list)), nil, &page); err != nil {
			return nil, err
		}
		if list = append(list, page...); len(page) < pageSize {
			return list, nil
		}
		if len(list) > maxFiles {
			return nil, bad("ask Chroma: %s: more than %d", path, maxFiles)
		}
	}
}

// vector is one record.
type vector struct {
	ID        string
	Embedding []float32
	Document  *string
	Metadata  map[string]any
}

func (c *chroma) page(ctx context.Context, at string, offset int) ([]vector, error) {
	var out struct {
		IDs        []string
		Embeddings [][]float32
		Documents  []*string
		Metadatas  []map[string]any
	}
	body := map[string]any{"limit": pageSize, "offset": offset, "include": []string{"embeddings", "documents", "metadatas"}}
	if err := c.call(ctx, at+"/get", body, &out); err != nil {
		return nil, err
	}
	n := len(out.IDs)
	if len(out.Embeddings) != n || len(out.Documents) != n || len(out.Metadatas) != n {
		return nil, fmt.Errorf("ask Chroma: %d ids with %d vectors, %d documents, %d metadata", n, len(out.Embeddings), len(out.Documents), len(out.Metadatas))
	}
	list := make([]vector, n)
	for i := range list {
		list[i] = vector{out.IDs[i], out.Embeddings[i], out.Documents[i], out.Metadatas[i]}
	}
	return list, nil
}

func (c *chroma) query(ctx context.Context, at string, v []float32, n int) ([]Hit, error) {
	var out struct {
		IDs       [][]string
		Distances [][]float64
	}
	body := map[string]any{"query_embeddings": [][]float32{v}, "n_results": n, "include": []string{"distances"}}
	if err := c.call(ctx, at+"/query", body, &out); err != nil {
		return nil, err
	}
	if len(out.IDs) != 1 || len(out.Distances) != 1 || len(out.IDs[0]) != len(out.Distances[0]) {
		return nil, fmt.Errorf("ask Chroma: one query has %d answers", len(out.IDs))
	}
	list := []Hit{}
	for i, id := range out.IDs[0] {
		list = append(list, Hit{id, out.Distances[0][i]})
	}
	return list, nil
}
