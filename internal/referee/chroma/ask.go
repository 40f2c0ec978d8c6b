package chroma

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

// Collection is the address of one, of the HTTP API's version 2, in the default database.
type Collection string

// Object is one of JSON.
type Object = map[string]any

// Record is one of a collection's.
type Record struct {
	ID        string
	Document  *string
	Metadata  map[string]any
	URI       *string
	Embedding []float32
}

// Collection makes a collection that measures by space, or by default where that is "", or finds it.
func (s *Server) Collection(name, space string) (Collection, error) {
	all := Collection(s.URL + "/api/v2/tenants/default_tenant/databases/default_database/collections")
	body := Object{"name": name, "get_or_create": true}
	if space != "" {
		body["configuration"] = Object{"hnsw": Object{"space": space}}
	}
	var c struct{ ID string }
	err := all.Post("", body, &c)
	return all + Collection("/"+c.ID), err
}

// Post asks for a change at a path below the collection. answer may be nil.
func (c Collection) Post(path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.Post(string(c)+path, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	return read(r, answer)
}

func read(r *http.Response, answer any) error {
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %.1000s", r.Request.URL, r.Status, text)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// Add adds records that are not there.
func (c Collection) Add(records ...Record) error { return c.put("/add", records) }

// Upsert adds records, or puts them in the place of those with their ids.
func (c Collection) Upsert(records ...Record) error { return c.put("/upsert", records) }

func (c Collection) put(path string, records []Record) error {
	body := map[string][]any{}
	for _, r := range records {
		body["ids"] = append(body["ids"], r.ID)
		body["documents"] = append(body["documents"], r.Document)
		body["metadatas"] = append(body["metadatas"], r.Metadata)
		body["uris"] = append(body["uris"], r.URI)
		body["embeddings"] = append(body["embeddings"], r.Embedding)
	}
	return c.Post(path, body, nil)
}

// Count returns how many records there are.
func (c Collection) Count() (n int, err error) {
	r, err := http.Get(string(c) + "/count")
	if err == nil {
		err = read(r, &n)
	}
	return n, err
}

// Get returns all records, by id.
func (c Collection) Get() ([]Record, error) {
	var a struct {
		IDs        []string
		Documents  []*string
		Metadatas  []map[string]any
		URIs       []*string
		Embeddings [][]float32
	}
	if err := c.Post("/get", Object{"include": []string{"documents", "metadatas", "embeddings", "uris"}}, &a); err != nil {
		return nil, err
	}
	list := make([]Record, len(a.IDs))
	for i, id := range a.IDs {
		list[i] = Record{id, a.Documents[i], a.Metadatas[i], a.URIs[i], a.Embeddings[i]}
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Nearest returns the id of the record that is nearest to a vector.
func (c Collection) Nearest(vector []float32) (string, error) {
	var hits struct{ IDs [][]string }
	err := c.Post("/query", Object{"query_embeddings": [][]float32{vector}, "n_results": 1}, &hits)
	if err == nil && (len(hits.IDs) != 1 || len(hits.IDs[0]) != 1) {
		err = fmt.Errorf("query %s: %d answers", c, len(hits.IDs))
	}
	if err != nil {
		return "", err
	}
	return hits.IDs[0][0], nil
}

// Dimension is that of numbered records' vectors.
const Dimension = 64

// Numbered returns n records from number i on: ids are a prefix and six digits, and metadata is of every kind.
func Numbered(prefix string, i, n int) []Record {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	list := make([]Record, n)
	for k := range list {
		text := fmt.Sprintf("мысль <%d> \"%d\"", i, i)
		list[k] = Record{ID: fmt.Sprintf("%s%06d", prefix, i), Document: &text, Embedding: make([]float32, Dimension),
			Metadata: Object{"n": i, "f": float64(i) / 4, "s": "a\nb", "b": i%2 == 0}}
		for j := range list[k].Embedding {
			list[k].Embedding[j] = r.Float32()*20 - 10
		}
		i++
	}
	return list
}
