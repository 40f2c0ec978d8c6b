package live

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
	"golang.org/x/sys/unix"
)

// chromaProgram returns the start of a real Chroma, installed once per lock file into the user's cache.
func chromaProgram(t *testing.T) string {
	t.Helper()
	referee.Need(t, "node", "npm")
	cache, err := os.UserCacheDir()
	check(t, err)
	lock, err := os.ReadFile("../../testdata/chroma/package-lock.json")
	check(t, err)
	dir := filepath.Join(cache, "agibake-test", fmt.Sprintf("chroma-%.6x", sha256.Sum256(lock)))
	check(t, os.MkdirAll(dir, 0o755))
	one, err := os.Open(dir)
	check(t, err)
	defer one.Close()
	check(t, unix.Flock(int(one.Fd()), unix.LOCK_EX)) // tests of other packages want it, too
	if _, err := os.Stat(dir + "/complete"); err != nil {
		for _, name := range []string{"package.json", "package-lock.json"} {
			text, err := os.ReadFile("../../testdata/chroma/" + name)
			check(t, err)
			check(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
		}
		c := referee.Command(t, "npm", "ci", "--no-audit", "--no-fund")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		check(t, os.WriteFile(dir+"/complete", nil, 0o644))
	}
	return dir + "/node_modules/chromadb/dist/cli.mjs"
}

// server is a running Chroma.
type server struct {
	*exec.Cmd
	url string
}

func chromaServer(t *testing.T, dir string) *server {
	t.Helper()
	program := chromaProgram(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	c := exec.Command(referee.Path(t, "node"), program, "run", "--path", dir, "--host", "127.0.0.1", "--port", port)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	check(t, c.Start())
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	s := &server{c, "http://127.0.0.1:" + port + "/api/v2"}
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get(s.url + "/heartbeat"); err == nil {
			r.Body.Close()
			return s
		}
		if time.Now().After(until) {
			t.Fatalf("chroma does not start:\n%s", said.Bytes())
		}
	}
}

const database = "/tenants/default_tenant/databases/default_database"

// call asks a server and decodes the answer.
func call(url string, body, answer any) error {
	method, reader := "GET", io.Reader(nil)
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		method, reader = "POST", bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, url, reader)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %s", url, a.Status, text)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

type object1 = map[string]any

// create makes a collection, or finds it, and returns its URL.
func create(url, name, space string) (string, error) {
	var c struct{ ID string }
	err := call(url+database+"/collections", object1{"name": name, "get_or_create": true,
		"configuration": object1{"hnsw": object1{"space": space}}}, &c)
	return url + database + "/collections/" + c.ID, err
}

func vector(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = r.Float32()*20 - 10
	}
	return v
}

const dimension = 64

// add adds n records numbered from i.
func add(collection, prefix string, i, n int) error {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	b := map[string][]any{}
	for ; n > 0; i, n = i+1, n-1 {
		b["ids"] = append(b["ids"], fmt.Sprintf("%s%06d", prefix, i))
		b["documents"] = append(b["documents"], fmt.Sprintf("мысль <%d> \"%d\"", i, i))
		b["metadatas"] = append(b["metadatas"], object1{"n": i, "f": float64(i) / 4, "s": "a\nb", "b": i%2 == 0})
		b["embeddings"] = append(b["embeddings"], vector(r, dimension))
	}
	return call(collection+"/add", b, nil)
}

// chromaWriter adds records to a collection, ten at a time, and prints how many are acknowledged.
func chromaWriter(args []string) error {
	for i := 0; ; i += 10 {
		if err := add(args[0], "w", i, 10); err != nil {
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
func served(t *testing.T, collection, name string) []exported {
	t.Helper()
	var a struct {
		IDs        []string
		Documents  []*string
		Metadatas  []map[string]any
		URIs       []*string
		Embeddings [][]float32
	}
	check(t, call(collection+"/get", object1{"include": []string{"documents", "metadatas", "embeddings", "uris"}}, &a))
	var list []exported
	for i, id := range a.IDs {
		m := a.Metadatas[i]
		if m == nil {
			m = map[string]any{}
		}
		if a.URIs[i] != nil {
			m["chroma:uri"] = *a.URIs[i]
		}
		list = append(list, exported{name, id, a.Documents[i], m, a.Embeddings[i]})
	}
	slices.SortFunc(list, func(a, b exported) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
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
	live := chromaServer(t, dir)
	euclid, err := create(live.url, "thoughts", "l2")
	check(t, err)
	cosine, err := create(live.url, "angles", "cosine")
	check(t, err)
	_, err = create(live.url, "empty", "l2")
	check(t, err)
	for i := 0; i < 2000; i += 100 {
		check(t, add(euclid, "a", i, 100))
	}
	for i := 0; i < 1100; i += 100 {
		check(t, add(cosine, "a", i, 100))
	}
	changes(t, euclid, cosine)

	w := start(t, "chroma", euclid)
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
		if len(s.Stopped) != 1 || s.Stopped[0].PID != live.Process.Pid || len(s.Chroma) != 1 || s.Chroma[0].Collections != 3 || s.Chroma[0].NoVector != 0 {
			t.Fatalf("%+v", s)
		}
		after := acked.Load() + 10
		judge(t, s, round, before, after)
	}
	again(t, root)
}

// changes leaves every kind of change in the queue and in the index.
func changes(t *testing.T, euclid, cosine string) {
	for _, c := range []string{euclid, cosine} {
		check(t, call(c+"/delete", object1{"ids": []string{"a000003", "a000999", "a001050"}}, nil))
		check(t, call(c+"/update", object1{"ids": []string{"a000005"}, "documents": []string{"changed"}, "metadatas": []object1{{"n": nil, "new": 1.0}}}, nil))
		check(t, call(c+"/update", object1{"ids": []string{"a000006", "nobody"}, "embeddings": [][]float32{make([]float32, dimension), make([]float32, dimension)}}, nil))
		ones := slices.Repeat([]float32{0.25}, dimension)
		check(t, call(c+"/upsert", object1{"ids": []string{"a000007", "<ю>", "a000003"}, "embeddings": [][]float32{ones, ones, ones},
			"documents": []any{"u", nil, "back"}, "uris": []any{nil, "file:///u", nil}}, nil))
	}
}

func judge(t *testing.T, s *Staged, round int, before, after int64) {
	t.Helper()
	staged := filepath.Dir(s.Files[slices.IndexFunc(s.Files, func(f File) bool { return f.Rel == "memory/chroma/chroma.sqlite3" })].Path)
	export := readExport(t, staged+".export.jsonl")
	copied := chromaServer(t, staged)
	euclid, err := create(copied.url, "thoughts", "l2")
	check(t, err)
	var count int64
	check(t, call(euclid+"/count", nil, &count))
	if count -= 2000 - 2 + 1; count < before || count > after { // two of three were deleted for good, one is new
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
	cosine, err := create(copied.url, "angles", "cosine")
	check(t, err)
	same(t, export["angles"], served(t, cosine, "angles"), 1e-6)
	var hits struct{ IDs [][]string }
	check(t, call(euclid+"/query", object1{"query_embeddings": [][]float32{want[100].Embedding}, "n_results": 1}, &hits))
	if len(hits.IDs) != 1 || len(hits.IDs[0]) != 1 || hits.IDs[0][0] != want[100].ID {
		t.Errorf("the copy does not find %s but %v", want[100].ID, hits.IDs)
	}
	copied.Process.Kill()
	copied.Wait()
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
