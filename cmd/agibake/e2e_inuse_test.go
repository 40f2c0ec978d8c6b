package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/chroma"
	"github.com/agibake/agibake/internal/referee/llama"
	"github.com/agibake/agibake/internal/state"
)

// inUse is the state of a mind that lives: it is asked, remembers vectors, lines and rows.
type inUse struct {
	*host
	core    string // the state folder
	ref     string // where snapshots go
	key     string // that signs them, without .key or .pub
	llama   llama.Tree
	model   string // its server's address
	vectors *chroma.Server
	writers [3]*writer // of vectors, lines, rows
}

const (
	filled   = 3000 // vectors, before anybody writes
	export   = "memory/chroma.export.jsonl"
	lines    = "memory/log.jsonl"
	database = "memory/diary.db"
)

func newInUse(t *testing.T) *inUse {
	referee.E2E(t)
	referee.Need(t, "docker-registry", "sqlite3", "node", "npm")
	dir := t.TempDir()
	u := &inUse{core: dir + "/core", key: dir + "/maker", llama: llama.Need(t)}
	u.host = &host{t: t, bin: "agibake", dir: dir, env: append(os.Environ(), "AGIBAKE_KEY_PASSWORD=secret",
		"XDG_CACHE_HOME="+dir+"/cache", "XDG_STATE_HOME="+dir+"/state", "XDG_CONFIG_HOME="+dir+"/config")}
	fatal(t, llama.State(u.core))
	fatal(t, os.Mkdir(u.core+"/memory/chroma", 0o755))
	address, stop := startRegistry(t, referee.Path(t, "docker-registry"), dir)
	t.Cleanup(stop)
	u.ref = address + "/agi/mind"
	u.model = u.llama.Serve(t, llama.Plain, u.core)
	u.vectors = chroma.Serve(t, u.core+"/memory/chroma")
	u.run(0, "keygen", "-o", u.key)
	return u
}

// start lets all write at once.
func (u *inUse) start() {
	u.writers[1], u.writers[2] = appendsLines(u.t, u.core+"/"+lines), commitsRows(u.t, u.core+"/"+database)
	thoughts := thoughtsOf(u.t, u.vectors)
	for i := 0; i < filled; i += 250 {
		fatal(u.t, thoughts.Add(chroma.Numbered("a", i, 250)...))
	}
	u.writers[0] = addsThoughts(u.t, thoughts)
	for _, w := range u.writers {
		w.alive(u.t)
	}
}

func thoughtsOf(t *testing.T, s *chroma.Server) chroma.Collection {
	t.Helper()
	c, err := s.Collection("thoughts", "l2")
	fatal(t, err)
	return c
}

// acked is what the writers know to be written.
func (u *inUse) acked() (n [3]int64) {
	for i, w := range u.writers {
		n[i] = w.acked.Load()
	}
	return n
}

// capture takes a snapshot and returns its address and how many bytes it added.
func (u *inUse) capture() (ref string, added int64) {
	var c captureReport
	u.report(&c, "state", "capture", u.core, "--to", u.ref)
	return u.ref + "@" + c.Digest.String(), c.Added
}

// report runs agibake and reads the document it prints.
func (u *inUse) report(v any, args ...string) {
	u.t.Helper()
	out, _ := u.run(0, append(args, "--json")...)
	fatal(u.t, json.Unmarshal([]byte(out), v))
}

// stood makes sure that the writers stood still for a snapshot, and not for long.
func (u *inUse) stood(ref string) {
	u.t.Helper()
	var s showReport
	u.report(&s, "state", "show", ref)
	l := s.Info.Live
	if l == nil {
		u.t.Fatalf("%s was captured while nobody wrote: %+v", ref, s.Info)
	}
	u.t.Logf("stood still %d ms: %q; torn %v", l.FrozenMS, l.Paused, l.Torn)
	if l.FrozenMS >= 15000 || len(l.Paused) != 3 || !slices.Contains(l.Paused, "cat") || !slices.Contains(l.Paused, "sqlite3") { // and Chroma's
		u.t.Errorf("stood still: %+v", l)
	}
}

// TestE2EStateInUse captures a state three times while all that belongs to it runs, brings the last one back by way of a
// registry, and finds there what was acknowledged, and the same mind.
func TestE2EStateInUse(t *testing.T) {
	u := newInUse(t)
	u.start()
	var refs []string
	var first int64
	var before [3]int64
	for range 3 {
		before = u.acked()
		ref, added := u.capture()
		u.stood(ref)
		for _, w := range u.writers {
			w.alive(t)
		}
		if refs = append(refs, ref); len(refs) == 1 {
			first = added
		} else if added > first/2 { // Chroma rewrites its index at every thousandth vector only
			t.Errorf("a later capture adds %d bytes, the first %d", added, first)
		}
		t.Logf("%d bytes added, acknowledged %v, then %v", added, before, u.acked())
	}
	after := u.acked()

	store, to := "oci:"+u.dir+"/store", u.dir+"/restored"
	u.run(4, "state", "pull", refs[2], store, "--key", u.key+".pub")
	u.run(0, "state", "sign", refs[2], "--key", u.key+".key")
	u.run(0, "state", "pull", refs[2], store, "--key", u.key+".pub")
	u.run(0, "state", "restore", store, "--to", to, "--key", u.key+".pub")
	judgeVectors(t, to, before[0], after[0])
	judgeLines(t, to, before[1], after[1])
	judgeRows(t, to, before[2], after[2])
	u.diff(refs[0], refs[2])
	for _, w := range u.writers {
		w.alive(t)
		w.stop(t)
	}
	u.fidelity()
}

// diff makes sure that what was added between two snapshots is named.
func (u *inUse) diff(a, b string) {
	u.t.Helper()
	var list []state.Change
	u.report(&list, "state", "diff", a, b)
	for _, c := range list {
		if c.Path != export {
			continue
		}
		if r := c.Records; r == nil || r.Added == 0 || r.Removed != 0 || r.Changed != 0 || len(r.Some) == 0 || !strings.HasPrefix(r.Some[0], "+thoughts/w") {
			u.t.Errorf("%+v", c.Records)
		}
		return
	}
	u.t.Errorf("%s does not differ: %+v", export, list)
}

// fidelity moves the mind, now that nobody writes, and finds it the same; then one vector changes.
func (u *inUse) fidelity() {
	ref, _ := u.capture()
	public, to := u.key+".pub", u.dir+"/moved"
	u.run(0, "state", "sign", ref, "--key", u.key+".key")
	u.run(0, "fidelity", "record", "--server", u.model, "--chroma", u.vectors.URL, "--root", u.core, "--snapshot", ref, "--key", public, "--sign-key", u.key+".key")
	u.run(0, "state", "restore", ref, "--to", to, "--key", public)
	model, vectors := u.llama.Serve(u.t, llama.Plain, to), chroma.Serve(u.t, to+"/memory/chroma")
	check := func(code int, summary string) *fidelity.Verdict {
		u.t.Helper()
		out, _ := u.run(code, "fidelity", "check", "--server", model, "--chroma", vectors.URL, "--root", to, "--snapshot", ref, "--key", public, "--json")
		var v fidelity.Verdict
		fatal(u.t, json.Unmarshal([]byte(out), &v))
		if v.Summary != summary {
			u.t.Errorf("exit code %d: %s", code, out)
		}
		return &v
	}
	check(0, "The same mind, on all five levels.")
	other := [][]float32{chroma.Numbered("", filled, 1)[0].Embedding}
	fatal(u.t, thoughtsOf(u.t, vectors).Post("/update", chroma.Object{"ids": []string{"a000077"}, "embeddings": other}, nil))
	v := check(5, "Not the same mind: memory failed.")
	u.t.Log(v.Err())
}
