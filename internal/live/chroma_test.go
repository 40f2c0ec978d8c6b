package live

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/chroma"
)

// chromaWriter adds records to a collection, ten at a time, and prints how many are acknowledged.
func chromaWriter(args []string) error {
	for i := 0; ; i += 10 {
		if err := chroma.Collection(args[0]).Add(chroma.Numbered("w", i, 10)...); err != nil {
			return err
		}
		fmt.Println(i + 10)
	}
}

// exported is a line of an export.
type exported struct {
	Collection, ID string
	Document       *string
	Metadata       map[string]any
	Embedding      []float32
}

func readExport(t *testing.T, path string) map[string][]exported {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	all := map[string][]exported{}
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var e exported
		check(t, d.Decode(&e))
		all[e.Collection] = append(all[e.Collection], e)
	}
	return all
}

// served returns the same from a server.
func served(t *testing.T, collection chroma.Collection, name string) []exported {
	t.Helper()
	records, err := collection.Get()
	check(t, err)
	var list []exported
	for _, r := range records {
		if r.Metadata == nil {
			r.Metadata = map[string]any{}
		}
		if r.URI != nil {
			r.Metadata["chroma:uri"] = *r.URI
		}
		list = append(list, exported{name, r.ID, r.Document, r.Metadata, r.Embedding})
	}
	return list
}

// same compares an export with a server; vectors may differ by tolerance, relative.
func same(t *testing.T, got, want []exported, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records exported, %d served", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.ID != w.ID || (g.Document == nil) != (w.Document == nil) || g.Document != nil && *g.Document != *w.Document || !maps.Equal(g.Metadata, w.Metadata) {
			t.Fatalf("record %d: exported %v, served %v", i, g, w)
		}
		if len(g.Embedding) != len(w.Embedding) {
			t.Fatalf("%s: vectors of %d and %d", g.ID, len(g.Embedding), len(w.Embedding))
		}
		for k := range g.Embedding {
			if d := math.Abs(float64(g.Embedding[k] - w.Embedding[k])); d > tolerance*math.Abs(float64(w.Embedding[k])) {
				t.Fatalf("%s: vectors differ at %d: %v, %v", g.ID, k, g.Embedding[k], w.Embedding[k])
			}
		}
	}
}

// TestE2EChromaInUse stages a Chroma database while it takes in records; a second server on the copy has all that was
// acknowledged before, and the export is what that server says.
func TestE2EChromaInUse(t *testing.T) {
	referee.E2E(t)
	root := t.TempDir()
	dir := root + "/memory/chroma"
	check(t, os.MkdirAll(dir, 0o755))
	live := chroma.Serve(t, dir)
	euclid, cosine := named(t, live, "thoughts", "l2"), named(t, live, "angles", "cosine")
	named(t, live, "empty", "l2")
	for i := 0; i < 2000; i += 100 {
		check(t, euclid.Add(chroma.Numbered("a", i, 100)...))
	}
	for i := 0; i < 1100; i += 100 {
		check(t, cosine.Add(chroma.Numbered("a", i, 100)...))
	}
	changes(t, euclid)
	changes(t, cosine)

	w := start(t, "chroma", string(euclid))
	acked := follow(w)
	for acked.Load() < 50 {
		time.Sleep(time.Millisecond)
	}
	for round := range 6 {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		before := acked.Load()
		s, err := Stage(t.Context(), root, []string{"memory/chroma/chroma.sqlite3"}, t.TempDir(), noDocker)
		check(t, err)
		t.Logf("frozen %v of %v, attempts %d, %+v, warnings %v", s.Frozen, s.FrozenAll, s.Attempts, s.Chroma, s.Warnings)
		if len(s.Stopped) != 1 || s.Stopped[0].PID != live.PID() || len(s.Chroma) != 1 || s.Chroma[0].Collections != 3 || s.Chroma[0].NoVector != 0 {
			t.Fatalf("%+v", s)
		}
		after := acked.Load() + 10
		judge(t, s, round, before, after)
	}
	again(t, root)
}

// named makes a collection, or finds it.
func named(t *testing.T, s *chroma.Server, name, space string) chroma.Collection {
	t.Helper()
	c, err := s.Collection(name, space)
	check(t, err)
	return c
}

// changes leaves every kind of change in the queue and in the index.
func changes(t *testing.T, c chroma.Collection) {
	t.Helper()
	check(t, c.Post("/delete", chroma.Object{"ids": []string{"a000003", "a000999", "a001050"}}, nil))
	check(t, c.Post("/update", chroma.Object{"ids": []string{"a000005"}, "documents": []string{"changed"}, "metadatas": []chroma.Object{{"n": nil, "new": 1.0}}}, nil))
	zeros := make([]float32, chroma.Dimension)
	check(t, c.Post("/update", chroma.Object{"ids": []string{"a000006", "nobody"}, "embeddings": [][]float32{zeros, zeros}}, nil))
	quarters, u, back, file := slices.Repeat([]float32{0.25}, chroma.Dimension), "u", "back", "file:///u"
	check(t, c.Upsert(chroma.Record{ID: "a000007", Document: &u, Embedding: quarters}, chroma.Record{ID: "<ю>", URI: &file, Embedding: quarters},
		chroma.Record{ID: "a000003", Document: &back, Embedding: quarters}))
}

func judge(t *testing.T, s *Staged, round int, before, after int64) {
	t.Helper()
	staged := filepath.Dir(s.Files[slices.IndexFunc(s.Files, func(f File) bool { return f.Rel == "memory/chroma/chroma.sqlite3" })].Path)
	export := readExport(t, staged+".export.jsonl")
	copied := chroma.Serve(t, staged)
	defer copied.Stop()
	euclid := named(t, copied, "thoughts", "l2")
	n, err := euclid.Count()
	check(t, err)
	if count := int64(n) - (2000 - 2 + 1); count < before || count > after { // two of three were deleted for good, one is new
		t.Errorf("round %d: %d records of the writer in the copy, acknowledged were %d before and %d after", round, count, before, after)
	}
	want := served(t, euclid, "thoughts")
	same(t, export["thoughts"], want, 0)
	ids := map[string]bool{}
	for _, e := range want {
		ids[e.ID] = true
	}
	for i := range before {
		if id := fmt.Sprintf("w%06d", i); !ids[id] {
			t.Fatalf("%s was acknowledged and is not there", id)
		}
	}
	same(t, export["angles"], served(t, named(t, copied, "angles", "cosine"), "angles"), 1e-6)
	if hit, err := euclid.Nearest(want[100].Embedding); err != nil || hit != want[100].ID {
		t.Errorf("the copy does not find %s but %s: %v", want[100].ID, hit, err)
	}
}

// again makes sure that equal data gives an equal export.
func again(t *testing.T, root string) {
	var first []byte
	for range 2 {
		s, err := Stage(t.Context(), root, []string{"memory/chroma/chroma.sqlite3"}, t.TempDir(), noDocker)
		check(t, err)
		var b bytes.Buffer
		dir := filepath.Dir(s.Files[slices.IndexFunc(s.Files, func(f File) bool { return f.Rel == "memory/chroma/chroma.sqlite3" })].Path)
		for range 2 {
			b.Reset()
			_, err = ExportChroma(t.Context(), dir, &b)
			check(t, err)
			if first == nil {
				first = bytes.Clone(b.Bytes())
			}
		}
		made, err := os.ReadFile(dir + ".export.jsonl")
		check(t, err)
		if !bytes.Equal(made, b.Bytes()) {
			t.Error("two exports of one copy differ")
		}
	}
	if found := FindChroma(root); len(found) != 1 || found[0] != root+"/memory/chroma" {
		t.Errorf("found %v", found)
	}
}
