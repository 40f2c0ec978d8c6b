package model

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/mode"
)

// door is a server with nothing but Proxy; its exchanges come out of the channel.
func door(t testing.TB, c *Client, m mode.Mode) (string, <-chan Exchange) {
	records := make(chan Exchange, 100)
	return newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Proxy(w, r, Transform(m, 100), func(x Exchange) { records <- x })
	})), records
}

func post(t testing.TB, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	req.Header.Set("Cookie", "token=secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res, string(text)
}

const (
	asks     = `{"messages":[{"role":"user","content":"Кто ты?"}]}`
	asksLive = `{"stream":true,"logprobs":true,"seed":7,"messages":[{"role":"user","content":"Кто ты?"}]}`
)

func TestProxyStream(t *testing.T) {
	l := newLlama(t, speak)
	url, records := door(t, client(t, l.url, generous), mode.Mode{Name: "A", SystemPrompt: "Думай."})
	res, text := post(t, url, asksLive)
	if want := role + event("Я ") + event("— ") + event("модель.") + last + end; text != want || res.StatusCode != 200 {
		t.Errorf("%s\n%s\n%s", res.Status, text, want)
	}
	h := res.Header
	if h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", h)
	}
	x := receive(t, records, "the record")
	if x.Err != nil || !x.Stream || x.Status != 200 || x.Answer.Text != "Я — модель." || x.Answer.Tokens != 3 || x.Answer.Seed != 7 ||
		*x.Answer.Params.MaxTokens != 100 || !strings.Contains(string(x.Request), "Думай.") {
		t.Errorf("%+v", x)
	}
	if b := l.asked(); b["logprobs"] != true || len(b["messages"].([]any)) != 2 {
		t.Errorf("%v", b)
	}
	for key := range l.header {
		if !strings.Contains("Content-Type Content-Length User-Agent Accept-Encoding Connection", key) {
			t.Errorf("the model was sent %s", key)
		}
	}
}

func TestProxyWhole(t *testing.T) {
	const whole = `{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Я.","reasoning_content":"Хм."}}],"usage":{"completion_tokens":2,"prompt_tokens":6}}`
	l := newLlama(t, status(200, whole))
	url, records := door(t, client(t, l.url, generous), mode.Mode{})
	res, text := post(t, url, asks)
	x := receive(t, records, "the record")
	if text != whole || res.Header.Get("Content-Type") != "application/json" || x.Err != nil || x.Stream || x.Answer.Text != "Я." ||
		x.Answer.Reasoning != "Хм." || x.Answer.Tokens != 2 || x.Answer.Finish != "stop" {
		t.Errorf("%s %+v", text, x)
	}
}

func TestProxyFaults(t *testing.T) {
	l := newLlama(t, nil)
	for name, f := range map[string]struct {
		serve  http.HandlerFunc
		body   string
		status int
		says   string
	}{
		"no JSON":           {speak, "{", 400, "expected a JSON object"},
		"no messages":       {speak, "{}", 400, "messages"},
		"too large":         {speak, strings.Repeat("x", 1<<16), 413, "too large"},
		"refused":           {status(400, `{"error":{"message":"no such template"}}`), asks, 400, "no such template"},
		"loading":           {status(503, "Loading model"), asksLive, 503, "Loading model"},
		"dies at once":      {die(), asksLive, 503, "EOF"},
		"dies":              {die(event("Я ")), asksLive, 200, `data: {"error":{"code":502,`},
		"half an event":     {die(event("Я "), `data: {"cho`), asksLive, 200, "broken"},
		"garbage":           {raw(event("Я ") + "data: garbage\n\n"), asksLive, 200, "invalid character"},
		"garbage at once":   {raw("data: garbage\n\n"), asksLive, 502, "invalid character"},
		"garbage, whole":    {raw("garbage"), asks, 502, "invalid character"},
		"hangs":             {l.hang, asksLive, 504, "too slow"},
		"hangs, whole":      {l.hang, asks, 504, "too slow"},
		"hangs in between":  {l.then(event("Я ")), asksLive, 200, `data: {"error":{"code":504,`},
		"never ends":        {l.forever(event("и ")), asksLive, 200, "too long"},
		"never ends, whole": {l.forever("xx"), asks, 502, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			l.serve(f.serve)
			o := generous
			if strings.HasPrefix(name, "hangs") {
				o = soon
				o.Total = time.Second
			}
			o.MaxRequest, o.MaxAnswer = 1<<15, 1<<15
			url, records := door(t, client(t, l.url, o), mode.Mode{})
			res, text := post(t, url, f.body)
			x := receive(t, records, "the record")
			if res.StatusCode != f.status || x.Status != f.status || x.Err == nil || !strings.Contains(text, f.says) {
				t.Errorf("%s, %+v\n%.300s", res.Status, x, text)
			}
			if f.status != 200 {
				var said struct{ Error apiError }
				if json.Unmarshal([]byte(text), &said) != nil || said.Error.Message == "" || said.Error.Type == "" {
					t.Errorf("no error of the API: %s", text)
				}
				return
			}
			for e := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
				if !json.Valid([]byte(strings.TrimPrefix(e, "data: "))) {
					t.Errorf("the client got %q", e)
				}
			}
			if strings.Contains(text, "[DONE]") {
				t.Error("the client is told that all went well")
			}
		})
	}
	url, _ := door(t, client(t, l.url, generous), mode.Mode{})
	if res, err := http.Get(url); err != nil || res.StatusCode != 400 {
		t.Errorf("%v %v", res, err)
	}
}

func TestProxyBusy(t *testing.T) {
	l := newLlama(t, nil)
	l.serve(l.hang)
	o := generous
	o.Waiting = -1
	c := client(t, l.url, o)
	url, _ := door(t, c, mode.Mode{})
	ctx, cancel := context.WithCancel(t.Context())
	go c.Chat(ctx, hello, nil)
	until(t, "the first exchange", func() bool { return c.Load().Running == 1 })
	if res, text := post(t, url, asks); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", res.Status, text)
	}
	cancel()
	receive(t, l.gone, "the server to be left")
}

// TestProxyIsLive: a word is with the client before the next one is thought.
func TestProxyIsLive(t *testing.T) {
	l := newLlama(t, nil)
	next := make(chan struct{})
	l.serve(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			say(w, event(fmt.Sprint(i)))
			<-next
		}
		say(w, last, end)
	})
	url, _ := door(t, client(t, l.url, generous), mode.Mode{})
	res, err := http.Post(url, "application/json", strings.NewReader(asksLive))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, fmt.Sprintf(`"content":"%d"`, i)) {
			t.Fatalf("%q, %v", line, err)
		}
		r.ReadString('\n')
		next <- struct{}{}
	}
}

func TestProxyClientLeaves(t *testing.T) {
	l := newLlama(t, nil)
	for name, serve := range map[string]http.HandlerFunc{"before": l.hang, "within": l.then(event("Я "))} {
		l.serve(serve)
		c := client(t, l.url, generous)
		url, records := door(t, c, mode.Mode{})
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(asksLive))
		asked := l.count()
		go func() {
			if res, err := http.DefaultClient.Do(req); err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		until(t, "the request", func() bool { return l.count() > asked })
		cancel()
		receive(t, l.gone, "the server to be left")
		if x := receive(t, records, "the record"); !errors.Is(x.Err, context.Canceled) || c.Health().State != Up {
			t.Errorf("%s: %+v, %+v", name, x, c.Health())
		}
	}
}

// TestProxyClientStalls: a client that does not read is let go, and the slot with it.
func TestProxyClientStalls(t *testing.T) {
	l := newLlama(t, nil)
	l.serve(l.forever(event(strings.Repeat("слово ", 1000))))
	o := generous
	o.Write, o.MaxAnswer, o.MaxStream = 200*time.Millisecond, 1<<40, 1<<40
	c := client(t, l.url, o)
	url, records := door(t, c, mode.Mode{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(asksLive), asksLive)
	if x := receive(t, records, "the record"); x.Err == nil || c.Load().Running != 0 || c.Health().State != Up {
		t.Errorf("%v, %+v", x.Err, c.Load())
	}
	receive(t, l.gone, "the server to be left")
}
