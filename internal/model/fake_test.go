package model

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is far longer than what a test waits for, even on a busy machine.
const patience = 30 * time.Second

// soon are bounds that end a test's fault quickly; too short for no honest fake.
var soon = Options{First: 300 * time.Millisecond, Between: 300 * time.Millisecond, Probe: 10 * time.Second}

// generous are bounds that no fake reaches.
var generous = Options{First: patience, Between: patience, Probe: patience, Write: patience}

// fakeLlama is a model server that misbehaves as a test likes.
type fakeLlama struct {
	url    string
	chat   atomic.Pointer[http.HandlerFunc]
	health atomic.Pointer[http.HandlerFunc]
	mu     sync.Mutex
	bodies []map[string]any // that it was asked
	header http.Header      // of the last one
	gone   chan struct{}    // one for each exchange whose client left
}

func newLlama(t testing.TB, chat http.HandlerFunc) *fakeLlama {
	l := &fakeLlama{gone: make(chan struct{}, 100)}
	l.serve(chat)
	l.healthy(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"status":"ok"}`) })
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { (*l.health.Load())(w, r) })
	mux.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		var body map[string]any
		json.Unmarshal(data, &body)
		l.mu.Lock()
		l.bodies, l.header = append(l.bodies, body), r.Header.Clone()
		l.mu.Unlock()
		(*l.chat.Load())(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *fakeLlama) serve(h http.HandlerFunc)   { l.chat.Store(&h) }
func (l *fakeLlama) healthy(h http.HandlerFunc) { l.health.Store(&h) }

// asked returns the last request's body.
func (l *fakeLlama) asked() map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bodies) == 0 {
		return nil
	}
	return l.bodies[len(l.bodies)-1]
}

func (l *fakeLlama) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.bodies)
}

// hang says nothing until the client leaves.
func (l *fakeLlama) hang(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	l.gone <- struct{}{}
}

// pings shows that the connection lives, and no more.
func (l *fakeLlama) pings(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		say(w, ": ping\n\n")
		time.Sleep(10 * time.Millisecond)
	}
	l.gone <- struct{}{}
}

func event(word string) string {
	text, _ := json.Marshal(word)
	return `data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":` + string(text) + `}}],"model":"fake","system_fingerprint":"b1"}` + "\n\n"
}

const (
	role = `data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}` + "\n\n"
	last = `data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"timings":{"cache_n":5,"prompt_n":1,"prompt_ms":2,"predicted_n":3,"predicted_ms":1500}}` + "\n\n"
	end  = "data: [DONE]\n\n"
)

func say(w http.ResponseWriter, parts ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	for _, p := range parts {
		io.WriteString(w, p)
		w.(http.Flusher).Flush()
	}
}

// speak answers as llama.cpp does.
func speak(w http.ResponseWriter, _ *http.Request) {
	say(w, role, event("Я "), event("— "), event("модель."), last, end)
}

// then says something and hangs.
func (l *fakeLlama) then(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		say(w, parts...)
		l.hang(w, r)
	}
}

func status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}
}

func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { say(w, text) }
}

// die breaks the connection off.
func die(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		say(w, parts...)
		panic(http.ErrAbortHandler)
	}
}

// forever repeats itself until the client leaves.
func (l *fakeLlama) forever(part string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			say(w, strings.Repeat(part, 100))
		}
		l.gone <- struct{}{}
	}
}

func client(t testing.TB, url string, o Options) *Client {
	t.Helper()
	c, err := New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func receive[T any](t testing.TB, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
	return v
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

var hello = Request{Messages: []Message{{"user", "Кто ты?"}}}

func newServer(t testing.TB, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
