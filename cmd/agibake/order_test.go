package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	tiny "github.com/agibake/agibake/internal/sample"
)

// asked notes the blobs that are fetched from a registry.
type asked struct {
	http.Handler
	mu    sync.Mutex
	blobs map[string]bool
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok && r.Method == http.MethodGet {
		a.mu.Lock()
		a.blobs[digest] = true
		a.mu.Unlock()
	}
	a.Handler.ServeHTTP(w, r)
}

// TestNothingBeforeTheVerdict: of what nobody trusted signed, only documents are fetched that the verdict needs: no layer, no
// disk, no piece of a state.
func TestNothingBeforeTheVerdict(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, dir)
	}
	t.Setenv("AGIBAKE_KEY_PASSWORD", "x")
	log := log.New(io.Discard, "", 0)
	a := &asked{Handler: registry.New(registry.WithReferrersSupport(true), registry.Logger(log)), blobs: map[string]bool{}}
	server := httptest.NewServer(a)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	run := func(want int, args ...string) {
		t.Helper()
		if code, out := inProcess(t, args...); code != want {
			t.Fatalf("%s: exit code %d, want %d\n%s", args, code, want, out)
		}
	}
	run(0, "keygen", "-o", dir+"/mine")
	run(0, "keygen", "-o", dir+"/theirs")
	_, x := tiny.Appliance(t, dir+"/out", tiny.Spec{})
	fatal(t, os.MkdirAll(dir+"/core/memory", 0o755))
	fatal(t, os.WriteFile(dir+"/core/memory/notes.jsonl", []byte("{\"id\":1}\n"), 0o644))
	run(0, "push", dir+"/out", host+"/agi/x:1")
	run(0, "state", "capture", dir+"/core", "--to", host+"/agi/state")
	run(0, "sign", host+"/agi/x:1", "--key", dir+"/theirs.key")
	run(0, "state", "sign", host+"/agi/state", "--key", dir+"/theirs.key")
	secret := map[string]bool{}
	for _, d := range x.RootfsLayers {
		secret[d.Digest.String()] = true
	}
	for _, d := range x.Disks {
		for _, p := range d.Parts {
			secret[p.Digest.String()] = true
		}
	}
	a.blobs = map[string]bool{}
	mine := []string{"--key", dir + "/mine.pub"}
	run(4, append([]string{"pull", host + "/agi/x:1", "-o", dir + "/in"}, mine...)...)
	run(4, append([]string{"boot", host + "/agi/x:1"}, mine...)...)
	for digest := range a.blobs {
		if secret[digest] {
			t.Errorf("%s was fetched before the verdict", digest)
		}
	}
	a.blobs = map[string]bool{}
	run(4, append([]string{"state", "restore", host + "/agi/state", "--to", dir + "/copy"}, mine...)...)
	run(4, append([]string{"state", "pull", host + "/agi/state", "oci:" + dir + "/copied"}, mine...)...)
	run(4, append([]string{"state", "verify", host + "/agi/state"}, mine...)...)
	if len(a.blobs) > 2 { // their signature in its two forms
		t.Errorf("blobs of a snapshot were fetched before the verdict: %v", a.blobs)
	}
	for _, name := range []string{"in", "copy", "copied"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}
