package model

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/mode"
	"github.com/google/go-cmp/cmp"
)

func TestChat(t *testing.T) {
	l := newLlama(t, speak)
	c := client(t, l.url, generous)
	r := Request{Messages: []Message{{"system", "Ты дома."}, {"user", "Кто ты?"}}, Params: mode.Sampling{Temperature: new(0.5)},
		Mode: mode.Mode{Name: "A", SystemPrompt: "Думай.", Sampling: mode.Sampling{Temperature: new(1.0), Seed: new(uint32(7)), Stop: []string{"x"}}}}
	var words []string
	a, err := c.Chat(t.Context(), r, func(delta string) error { words = append(words, delta); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"Я ", "— ", "модель."}, words); d != "" || a.Text != "Я — модель." {
		t.Errorf("%s%q", d, a.Text)
	}
	if a.Tokens != 3 || a.PromptTokens != 6 || a.Finish != "stop" || a.Seed != 7 || a.Model != "fake" || a.Rate() != 2 ||
		a.Timings.Cached != 5 || a.Timings.First <= 0 || a.Timings.Total < a.Timings.First || *a.Params.MaxTokens != 4096 {
		t.Errorf("%+v", a)
	}
	want := map[string]any{"temperature": 0.5, "seed": 7.0, "stop": []any{"x"}, "max_tokens": 4096.0, "stream": true, "messages": []any{
		map[string]any{"role": "system", "content": "Думай.\n\nТы дома."}, map[string]any{"role": "user", "content": "Кто ты?"}}}
	if d := cmp.Diff(want, l.asked()); d != "" {
		t.Error(d)
	}
	if h := c.Health(); h.State != Up || h.Reason != "" {
		t.Errorf("%+v", h)
	}
	if _, err := c.Chat(t.Context(), hello, nil); err != nil || l.asked()["seed"] == nil {
		t.Errorf("%v, seed %v", err, l.asked()["seed"])
	}
	if _, err := c.Chat(t.Context(), Request{}, nil); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

// TestFaults has the server misbehave in every way; none may keep Chat.
func TestFaults(t *testing.T) {
	l := newLlama(t, nil)
	for name, f := range map[string]struct {
		serve http.HandlerFunc
		want  error
		says  string
		text  string // that came before
		state State
	}{
		"hangs":                {l.hang, ErrSlow, "no word for 300ms", "", Down},
		"hangs in the midst":   {l.then(role, event("Я ")), ErrSlow, "no word", "Я ", Down},
		"only pings":           {l.pings, ErrSlow, "no word", "", Down},
		"dies at once":         {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrDown, "EOF", "", Down},
		"dies in the midst":    {die(role, event("Я ")), ErrBroken, "EOF", "Я ", Down},
		"dies within an event": {die(event("Я "), `data: {"cho`), ErrBroken, "EOF", "Я ", Down},
		"breaks off":           {raw(event("Я ")), ErrBroken, "broke off", "Я ", Down},
		"no mark at the end":   {raw(event("Я ") + last), nil, "", "Я ", Up},
		"garbage":              {raw("data: \x00\xff{\n\n"), ErrBroken, "invalid character", "", Down},
		"another JSON":         {raw("data: {\"a\":1}\n\n"), ErrBroken, "neither words nor an end", "", Down},
		"wrong types":          {raw("data: {\"choices\":5}\n\n"), ErrBroken, "cannot unmarshal", "", Down},
		"HTML":                 {raw("<html>"), ErrBroken, "broke off", "", Down},
		"a line without end":   {l.forever(strings.Repeat("x", 5000)), ErrBroken, "too large", "", Down},
		"endless pings":        {l.forever(": ping\n\n"), ErrTooLong, "bytes of stream", "", Up},
		"a large event":        {l.forever("data: " + strings.Repeat("x", 5000) + "\n"), ErrBroken, "too large", "", Down},
		"an error in between":  {raw(event("Я ") + `data: {"error":{"code":500,"message":"out of memory"}}` + "\n\n"), ErrBroken, "out of memory", "Я ", Down},
		"an old error":         {raw(`error: {"code":500,"message":"out of memory","type":"server_error"}` + "\n\n"), ErrBroken, "out of memory", "", Down},
		"never ends":           {l.forever(event("ещё ")), ErrTooLong, "more than", "*", Up},
		"loads":                {status(503, `{"error":{"code":503,"message":"Loading model"}}`), ErrLoading, "Loading model", "", Loading},
		"refuses":              {status(400, `{"error":{"message":"too many\nmessages"}}`), nil, "400 too many messages", "", Up},
		"fails":                {status(500, strings.Repeat("x", 1000)), ErrBroken, "500 xxx", "", Down},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/health", http.StatusTemporaryRedirect)
		}, ErrBroken, "307", "", Down},
	} {
		t.Run(name, func(t *testing.T) {
			l.serve(f.serve)
			o := generous
			if f.want == ErrSlow {
				o = soon
			}
			o.MaxAnswer, o.MaxStream = 64<<10, 8<<20
			c := client(t, l.url, o)
			a, err := c.Chat(t.Context(), hello, nil)
			if f.says == "" && err != nil || f.says != "" && (err == nil || !strings.Contains(err.Error(), f.says)) {
				t.Errorf("%v, want %q", err, f.says)
			}
			if f.want != nil && !errors.Is(err, f.want) {
				t.Errorf("%v, want %v", err, f.want)
			}
			if f.text != "*" && a.Text != f.text {
				t.Errorf("the answer is %q", a.Text)
			}
			if len(a.Text) > 2*int(o.MaxAnswer) {
				t.Errorf("an answer of %d bytes", len(a.Text))
			}
			if h := c.Health(); h.State != f.state {
				t.Errorf("%+v, want %s", h, f.state)
			}
			if load := c.Load(); load.Running != 0 || load.Waiting != 0 {
				t.Errorf("%+v", load)
			}
		})
	}
	var r *Refused
	l.serve(status(422, "no"))
	if _, err := client(t, l.url, soon).Chat(t.Context(), hello, nil); !errors.As(err, &r) || r.Status != 422 || fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestTotalTime(t *testing.T) {
	l := newLlama(t, nil)
	l.serve(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			say(w, event("и "))
			time.Sleep(time.Millisecond)
		}
	})
	o := generous
	o.Total = 200 * time.Millisecond
	if a, err := client(t, l.url, o).Chat(t.Context(), hello, nil); !errors.Is(err, ErrSlow) || a.Text == "" {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	c := client(t, "http://127.0.0.1:1", generous)
	_, err := c.Chat(t.Context(), hello, nil)
	if !errors.Is(err, ErrDown) || c.Health().State != Down || !strings.Contains(c.Health().Reason, "refused") {
		t.Errorf("%v, %+v", err, c.Health())
	}
	for _, address := range []string{"", "127.0.0.1:80", "ftp://x", "http://"} {
		if _, err := New(address, Options{}); fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestCancel: who asks no longer waits, wherever the exchange is, and the server hears of it.
func TestCancel(t *testing.T) {
	l := newLlama(t, nil)
	for name, serve := range map[string]http.HandlerFunc{"before": l.hang, "within": l.then(event("Я "))} {
		l.serve(serve)
		c := client(t, l.url, generous)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("had enough")
		asked := l.count()
		ended := make(chan error, 1)
		go func() { _, err := c.Chat(ctx, hello, nil); ended <- err }()
		until(t, "the request", func() bool { return l.count() > asked })
		begin := time.Now()
		cancel(why)
		if err := receive(t, ended, "the end"); !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: ended after %s", name, time.Since(begin))
		receive(t, l.gone, "the server to be left")
		if c.Health().State != Up {
			t.Errorf("%s: %+v", name, c.Health())
		}
	}
}

func TestEmitEndsTheExchange(t *testing.T) {
	l := newLlama(t, nil)
	l.serve(l.then(event("Я ")))
	c := client(t, l.url, generous)
	full := errors.New("the disk is full")
	a, err := c.Chat(t.Context(), hello, func(string) error { return full })
	if !errors.Is(err, full) || a.Text != "Я " || c.Health().State != Up {
		t.Errorf("%v, %+v, %+v", err, a, c.Health())
	}
	receive(t, l.gone, "the server to be left")
}

// TestSlowEmit: the time that the caller takes is not the server's.
func TestSlowEmit(t *testing.T) {
	c := client(t, newLlama(t, speak).url, soon)
	if _, err := c.Chat(t.Context(), hello, func(string) error { time.Sleep(500 * time.Millisecond); return nil }); err != nil {
		t.Error(err)
	}
}
