// Package model is the client of the appliance's model server, llama.cpp's (tools/server/README.md): chat as a stream,
// a pass-through for OpenAI's API, and the server's health. Whatever the server does, callers wait for a bounded time:
// one that hangs, dies, loads, or never ends is an error. docs/modes.md has the bounds.
package model

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// What can go wrong with the model. Errors of this package wrap one of them, the caller's context's, or a *Refused.
var (
	ErrBusy    = errors.New("the model is busy")
	ErrLoading = errors.New("the model is loading")
	ErrDown    = errors.New("the model does not answer")
	ErrSlow    = errors.New("the model is too slow")
	ErrBroken  = errors.New("the model's answer is broken")
	ErrTooLong = errors.New("the model's answer is too long")
)

// Refused is an answer of the server that the request is bad. Errors with it are of kind Input.
type Refused struct {
	Status  int // HTTP's, 400 to 499
	Message string
}

func (r *Refused) Error() string { return fmt.Sprintf("the model refuses: %d %s", r.Status, r.Message) }

// maxReading is how many requests Proxy reads at once: with MaxRequest it bounds the memory that clients can take.
const maxReading = 32

// Options are the bounds. The zero value of each takes the default.
type Options struct {
	Slots   int           // exchanges at once; 1
	Waiting int           // exchanges that may wait for a slot; 16, negative is none
	Wait    time.Duration // for a slot; 1 minute
	First   time.Duration // until the first event of a stream, which is after the prompt was read; 5 minutes
	Between time.Duration // between events of a stream; 1 minute
	Total   time.Duration // of an exchange; 30 minutes
	Probe   time.Duration // for the server's small answers; 5 seconds
	Write   time.Duration // for a client of Proxy to take what it was sent; 10 seconds

	MaxRequest int64 // bytes; 1 MiB
	MaxAnswer  int64 // bytes of text; 4 MiB
	MaxStream  int64 // bytes of a whole answer as it is sent; 64 MiB
	MaxTokens  int   // of an answer for which nobody set a limit; 4096
}

func (o Options) withDefaults() Options {
	o.Slots = cmp.Or(max(o.Slots, 0), 1)
	o.Waiting = max(cmp.Or(o.Waiting, 16), 0)
	o.Wait = cmp.Or(o.Wait, time.Minute)
	o.First = cmp.Or(o.First, 5*time.Minute)
	o.Between = cmp.Or(o.Between, time.Minute)
	o.Total = cmp.Or(o.Total, 30*time.Minute)
	o.Probe = cmp.Or(o.Probe, 5*time.Second)
	o.Write = cmp.Or(o.Write, 10*time.Second)
	o.MaxRequest = cmp.Or(o.MaxRequest, 1<<20)
	o.MaxAnswer = cmp.Or(o.MaxAnswer, 4<<20)
	o.MaxStream = cmp.Or(o.MaxStream, 64<<20)
	o.MaxTokens = cmp.Or(o.MaxTokens, 4096)
	return o
}

// Client talks to one model server. Its methods may be called at once.
type Client struct {
	url     string
	options Options
	http    *http.Client
	gate    *gate
	view    *view
	reading chan struct{} // one for each request that Proxy reads
}

// New returns a client of the server at a base URL, e.g. http://127.0.0.1:8081. Nothing is asked yet. The error, of kind
// Input, is that of an address that is none.
func New(base string, o Options) (*Client, error) {
	u, err := url.Parse(base)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		err = errors.New("expected http://HOST:PORT")
	}
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("model server %q: %w", base, err))
	}
	o = o.withDefaults()
	return &Client{
		url: strings.TrimRight(base, "/"), options: o, gate: newGate(o), view: newView(), reading: make(chan struct{}, maxReading),
		http: &http.Client{
			// A connection of its own for each exchange: closing it is what tells llama.cpp to stop thinking.
			Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: o.Probe}).DialContext, DisableKeepAlives: true,
				DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}
