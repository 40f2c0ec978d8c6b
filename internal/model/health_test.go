package model

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// TestQueue: so many run, so many wait, the others hear at once that it is busy.
func TestQueue(t *testing.T) {
	l := newLlama(t, nil)
	proceed := make(chan struct{})
	var now, most atomic.Int64
	l.serve(func(w http.ResponseWriter, r *http.Request) {
		for n := now.Add(1); n > most.Load(); most.Store(n) {
		}
		<-proceed
		now.Add(-1)
		speak(w, r)
	})
	o := generous
	o.Slots, o.Waiting = 2, 3
	c := client(t, l.url, o)
	ended := make(chan error, 5)
	for range 5 {
		go func() { _, err := c.Chat(t.Context(), hello, nil); ended <- err }()
	}
	until(t, "a full queue", func() bool { return c.Load() == Load{Running: 2, Waiting: 3, Slots: 2} })
	for range 3 {
		if _, err := c.Chat(t.Context(), hello, nil); !errors.Is(err, ErrBusy) || fault.HintOf(err) == "" {
			t.Error(err)
		}
	}
	close(proceed)
	for range 5 {
		if err := receive(t, ended, "an exchange"); err != nil {
			t.Error(err)
		}
	}
	if c.Load().Running+c.Load().Waiting != 0 || most.Load() > 2 || c.Health().State != Up {
		t.Errorf("%+v, %d at once, %+v", c.Load(), most.Load(), c.Health())
	}
}

func TestWaitingEnds(t *testing.T) {
	l := newLlama(t, nil)
	l.serve(l.hang)
	o := generous
	o.Wait = 50 * time.Millisecond
	c := client(t, l.url, o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := c.Chat(ctx, hello, nil); ended <- err }()
	until(t, "the first exchange", func() bool { return c.Load().Running == 1 })
	if _, err := c.Chat(t.Context(), hello, nil); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := c.Chat(gone, hello, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	cancel()
	receive(t, ended, "the first exchange to end")
}

// TestHealth: down, loading, up, and what Chat does in each.
func TestHealth(t *testing.T) {
	l := newLlama(t, speak)
	ok := *l.health.Load()
	c := client(t, l.url, generous)
	if h := c.Health(); h.State != Loading || h.Reason == "" || h.Since.IsZero() {
		t.Errorf("%+v", h)
	}
	l.healthy(status(503, `{"error":{"code":503,"message":"Loading model"}}`))
	if _, err := c.Chat(t.Context(), hello, nil); !errors.Is(err, ErrLoading) || l.count() != 0 {
		t.Errorf("%v, asked %d times", err, l.count())
	}
	since := c.Health().Since
	if h := c.Probe(t.Context()); h.State != Loading || h.Since != since || !strings.Contains(h.Reason, "Loading model") {
		t.Errorf("%+v", h)
	}
	l.healthy(status(500, "no"))
	if _, err := c.Chat(t.Context(), hello, nil); !errors.Is(err, ErrDown) || l.count() != 0 {
		t.Errorf("%v, asked %d times", err, l.count())
	}
	l.healthy(ok)
	if _, err := c.Chat(t.Context(), hello, nil); err != nil || c.Health().State != Up {
		t.Errorf("%v, %+v", err, c.Health())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { c.Watch(ctx, time.Millisecond) })
	for state, health := range map[State]http.HandlerFunc{Loading: status(503, ""), Down: status(404, ""), Up: ok} {
		l.healthy(health)
		until(t, string(state), func() bool { return c.Health().State == state })
	}
	cancel()
	watching.Wait()
}

// TestHungServer: a server whose /health answers and whose model does not is down until it gives a word; meanwhile one
// exchange at a time may try.
func TestHungServer(t *testing.T) {
	l := newLlama(t, nil)
	l.serve(l.hang)
	o := soon
	o.Slots = 4
	c := client(t, l.url, o)
	if _, err := c.Chat(t.Context(), hello, nil); !errors.Is(err, ErrSlow) {
		t.Fatal(err)
	}
	if h := c.Probe(t.Context()); h.State != Down || !strings.Contains(h.Reason, "no word") {
		t.Errorf("%+v", h)
	}
	proceed := make(chan struct{})
	l.serve(func(w http.ResponseWriter, r *http.Request) { <-proceed; speak(w, r) })
	c.options.First = patience
	asked := l.count()
	ended := make(chan error, 1)
	go func() { _, err := c.Chat(t.Context(), hello, nil); ended <- err }()
	until(t, "the trial", func() bool { return l.count() > asked })
	if _, err := c.Chat(t.Context(), hello, nil); !errors.Is(err, ErrDown) || l.count() > asked+1 {
		t.Errorf("%v", err)
	}
	close(proceed)
	if err := receive(t, ended, "the trial"); err != nil || c.Health().State != Up {
		t.Errorf("%v, %+v", err, c.Health())
	}
	if _, err := c.Chat(t.Context(), hello, nil); err != nil {
		t.Error(err)
	}
}

// TestHungHealth: who asks a server whose /health hangs waits for one probe, however many ask.
func TestHungHealth(t *testing.T) {
	l := newLlama(t, speak)
	var probes atomic.Int64
	l.healthy(func(w http.ResponseWriter, r *http.Request) { probes.Add(1); <-r.Context().Done() })
	o := generous
	o.Probe = 500 * time.Millisecond
	c := client(t, l.url, o)
	ended := make(chan error, 50)
	for range 50 {
		go func() { _, err := c.Chat(t.Context(), hello, nil); ended <- err }()
	}
	for range 50 {
		if err := receive(t, ended, "an answer"); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
	}
	if n := probes.Load(); n > 25 {
		t.Errorf("asked %d times", n)
	}
}

func TestPropsAndTokens(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /props", status(200, `{"total_slots":2,"model_path":"/m","build_info":"b1","default_generation_settings":{"n_ctx":512},"chat_template":"t"}`))
	mux.HandleFunc("POST /tokenize", status(200, `{"tokens":[1,2]}`))
	l := newLlama(t, speak)
	server := newServer(t, mux)
	c := client(t, server, generous)
	if p, err := c.Props(t.Context()); err != nil || p != (Props{2, 512, "/m", "b1", "t"}) {
		t.Errorf("%+v %v", p, err)
	}
	if tokens, err := c.Tokenize(t.Context(), "Я"); err != nil || len(tokens) != 2 {
		t.Errorf("%v %v", tokens, err)
	}
	if _, err := client(t, l.url, generous).Props(t.Context()); err == nil || fault.KindOf(err) != fault.Input {
		t.Errorf("%v", err)
	}
}
