package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/referee"
)

// chromaProgram returns the start of a real Chroma, installed once per lock file into the user's cache, where other tests
// look for it, too.
func (b *bench) chromaProgram() string {
	b.Helper()
	cache, err := os.UserCacheDir()
	b.must(err)
	lock, err := os.ReadFile("../../testdata/chroma/package-lock.json")
	b.must(err)
	dir := filepath.Join(cache, "agibake-test", fmt.Sprintf("chroma-%.6x", sha256.Sum256(lock)))
	b.mkdir(dir)
	one, err := os.Open(dir)
	b.must(err)
	defer one.Close()
	b.must(unix.Flock(int(one.Fd()), unix.LOCK_EX))
	if _, err := os.Stat(dir + "/complete"); err != nil {
		for _, name := range []string{"package.json", "package-lock.json"} {
			text, err := os.ReadFile("../../testdata/chroma/" + name)
			b.must(err)
			b.must(os.WriteFile(filepath.Join(dir, name), text, 0o644))
		}
		c := exec.CommandContext(b.Context(), "npm", "ci", "--no-audit", "--no-fund")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("npm ci: %v\n%s", err, out)
		}
		b.must(os.WriteFile(dir+"/complete", nil, 0o644))
	}
	return dir + "/node_modules/chromadb/dist/cli.mjs"
}

// benchChroma is the address of a collection in a running Chroma.
type benchChroma string

// chroma serves a database while use works on it, and stops the server.
func (b *bench) chroma(folder string, use func(benchChroma) error) {
	b.Helper()
	b.mkdir(folder)
	port := referee.Port(b.T)
	var said bytes.Buffer
	c := exec.CommandContext(b.Context(), find("node"), b.chromaProgram(), "run", "--path", folder, "--host", "127.0.0.1", "--port", port)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stdout, c.Stderr, c.Dir = &said, &said, b.dir
	b.must(c.Start())
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	url := benchChroma("http://127.0.0.1:" + port + "/api/v2")
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.Get(string(url) + "/heartbeat")
		if err == nil {
			r.Body.Close()
			break
		}
		if time.Now().After(until) {
			b.Fatalf("chroma does not start: %v", err)
		}
	}
	var at struct{ ID string }
	all := url + "/tenants/default_tenant/databases/default_database/collections"
	b.must(all.post("", map[string]any{"name": "thoughts", "get_or_create": true}, &at))
	b.must(use(all + benchChroma("/"+at.ID)))
}

// benchDimension is that of the vectors of small embedding models.
const benchDimension = 384

// fill writes every step-th record below n; another version has other vectors.
func (c benchChroma) fill(from, n, step int, version uint64) error {
	const batch = 250
	for from < n {
		body := map[string][]any{}
		for ; from < n && len(body["ids"]) < batch; from += step {
			r := rand.New(rand.NewPCG(uint64(from), version))
			vector := make([]float32, benchDimension)
			for i := range vector {
				vector[i] = float32(r.NormFloat64())
			}
			body["ids"] = append(body["ids"], fmt.Sprintf("thought-%06d", from))
			body["embeddings"] = append(body["embeddings"], vector)
			body["documents"] = append(body["documents"], fmt.Sprintf("мысль %d", from))
			body["metadatas"] = append(body["metadatas"], map[string]any{"n": from, "version": version})
		}
		if err := c.post("/upsert", body, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c benchChroma) post(path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.Post(string(c)+path, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if text, err = io.ReadAll(r.Body); err == nil && r.StatusCode/100 != 2 {
		err = fmt.Errorf("chroma: %s: %s: %.1000s", path, r.Status, text)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}
