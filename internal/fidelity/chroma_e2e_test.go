package fidelity

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

var chromaPackage = "../../testdata/chroma" // package.json with its lock

// needChroma starts a real Chroma server on an empty folder and returns its address.
func needChroma(t *testing.T) string {
	t.Helper()
	return serveChroma(t, t.TempDir())
}

// serveChroma serves a database's folder. Chroma comes from npm, into the cache.
func serveChroma(t *testing.T, data string) string {
	t.Helper()
	if !exists(chromaPackage + "/package-lock.json") {
		t.Skip("SKIPPED: nothing was proved, there is no testdata/chroma")
	}
	referee.Need(t, "npm", "node")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	lock := read(t, chromaPackage+"/package-lock.json")
	dir := filepath.Join(cache, "agibake-test", "chroma-"+sum([]byte(lock))[:12])
	if !exists(dir + "/node_modules/.bin/chroma") {
		mkdir(t, filepath.Dir(dir))
		partial, err := os.MkdirTemp(filepath.Dir(dir), "chroma.partial-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(partial)
		write(t, partial+"/package.json", read(t, chromaPackage+"/package.json"))
		write(t, partial+"/package-lock.json", lock)
		referee.Run(t, "npm", "ci", "--prefix", partial, "--no-audit", "--no-fund")
		if err := os.Rename(partial, dir); err != nil && !exists(dir) {
			t.Fatal(err)
		}
	}
	port := referee.Port(t)
	c := exec.CommandContext(t.Context(), referee.Path(t, "node"), dir+"/node_modules/.bin/chroma", "run", "--host", "127.0.0.1", "--port", port, "--path", data)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	url := "http://127.0.0.1:" + port
	referee.Serve(t, c, url+"/api/v2/heartbeat")
	return url
}

const defaultDatabase = "/api/v2/tenants/default_tenant/databases/default_database/collections"

// at returns the path of a collection, which is made where it is not there.
func at(t *testing.T, c *chroma, name string) string {
	t.Helper()
	var k struct{ ID string }
	if err := c.call(t.Context(), defaultDatabase, map[string]any{"name": name, "get_or_create": true}, &k); err != nil {
		t.Fatal(err)
	}
	return defaultDatabase + "/" + k.ID
}

// post asks for a change.
func post(t *testing.T, c *chroma, path string, body map[string]any) {
	t.Helper()
	var out any
	if err := c.call(t.Context(), path, body, &out); err != nil {
		t.Fatal(err)
	}
}

func embedding(i int) []float32 {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	v := make([]float32, 8)
	for j := range v {
		v[j] = float32(r.NormFloat64())
	}
	return v
}

// fill adds n vectors with documents.
func fill(t *testing.T, address, name string, n int) {
	t.Helper()
	c := &chroma{service{"Chroma", address, http.DefaultClient}}
	add(t, c, name, 0, n)
}

func add(t *testing.T, c *chroma, name string, from, to int) {
	t.Helper()
	path := at(t, c, name) + "/upsert"
	for ; from < to; from += 500 {
		var ids, documents []string
		var vectors [][]float32
		var metadata []map[string]any
		for i := from; i < min(to, from+500); i++ {
			ids, documents = append(ids, fmt.Sprint("id", i)), append(documents, fmt.Sprint("Мысль ", i))
			vectors, metadata = append(vectors, embedding(i)), append(metadata, map[string]any{"n": i, "weight": float64(i) / 3})
		}
		post(t, c, path, map[string]any{"ids": ids, "documents": documents, "embeddings": vectors, "metadatas": metadata})
	}
}

// TestE2EChroma changes a real database in small ways.
func TestE2EChroma(t *testing.T) {
	referee.E2E(t)
	data := t.TempDir()
	address := serveChroma(t, data)
	const n = 2000
	fill(t, address, "thoughts", n)
	fill(t, address, "few", 3)
	target := Target{Chroma: address}
	b, err := Record(t.Context(), target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &chroma{service{"Chroma", address, http.DefaultClient}}
	path := at(t, c, "thoughts")
	for _, x := range []struct {
		name, path   string
		body         map[string]any
		undo         func()
		fails, grown bool
		reason       string
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
				post(t, c, path+x.path, x.body)
			}
			v, err := Check(t.Context(), target, b, Options{})
			if err != nil || v.Same == x.fails || !strings.Contains(strings.Join(strings.Fields(text(t, v)), " "), x.reason) {
				t.Errorf("%v\n%s", err, text(t, v))
			}
			add(t, c, "thoughts", 77, 78) // as it was
		})
	}
	if v, err := Check(t.Context(), target, b, Options{Frozen: true}); err != nil || v.Same {
		t.Errorf("a frozen memory may grow: %v", err)
	}
	post(t, c, path+"/delete", map[string]any{"ids": []string{"id5000"}})
	if v, err := Check(t.Context(), target, b, Options{Frozen: true}); err != nil || !v.Same {
		t.Errorf("as it was: %v\n%s", err, text(t, v))
	}
	moved := t.TempDir()
	if err := os.CopyFS(moved, os.DirFS(data)); err != nil { // nobody writes
		t.Fatal(err)
	}
	if v, err := Check(t.Context(), Target{Chroma: serveChroma(t, moved)}, b, Options{Frozen: true}); err != nil || !v.Same {
		t.Errorf("a copy of the folder: %v\n%s", err, text(t, v))
	}
}
