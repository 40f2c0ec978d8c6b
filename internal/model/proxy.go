package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// Exchange is what went through Proxy.
type Exchange struct {
	Begin   time.Time
	Request []byte // as it goes to the model; nil where the client's was bad
	Stream  bool
	Status  int // HTTP's, that the client got; 499 where it had left
	Answer  Answer
	Err     error // why there is no whole answer; nil for a whole one
}

// Proxy passes one request of OpenAI's API (chat completions) to the model, whatever its path, and the answer back. A
// stream goes through event by event as it comes; half events and garbage do not. An answer that is no stream is held,
// within four times MaxAnswer, until it is whole. transform, which may be nil, changes the request first: see Transform; its error is the client's fault. record,
// which may be nil, gets the exchange, once, at its end.
//
// No header but Content-Type goes either way: tokens and cookies are the door's, not the model's. A client that does not
// take what it is sent for Options.Write is let go.
func (c *Client) Proxy(w http.ResponseWriter, r *http.Request, transform func(body []byte) ([]byte, error), record func(Exchange)) {
	p := &passage{client: c, to: http.NewResponseController(w), w: w, x: Exchange{Begin: time.Now()}}
	err := p.take(r, transform)
	if err == nil {
		err = c.judge(r.Context(), p.pass(r.Context()))
	}
	if p.x.Err = err; err != nil {
		p.fail(r.Context(), err)
	}
	if record != nil {
		record(p.x)
	}
}

// passage is one exchange on its way through.
type passage struct {
	client *Client
	to     *http.ResponseController
	w      http.ResponseWriter
	x      Exchange
}

// take reads the client's request.
func (p *passage) take(r *http.Request, transform func([]byte) ([]byte, error)) error {
	if r.Method != http.MethodPost {
		return fault.Mark(fault.Input, fmt.Errorf("expected POST, not %.20s", r.Method))
	}
	select {
	case p.client.reading <- struct{}{}:
		defer func() { <-p.client.reading }()
	default:
		return busy("%d requests are being read already", maxReading)
	}
	p.to.SetReadDeadline(time.Now().Add(3 * p.client.options.Write))
	data, err := readAll(r.Body, p.client.options.MaxRequest)
	p.to.SetReadDeadline(time.Time{}) // else it would end a long answer
	switch {
	case errors.Is(err, errTooMuch), errors.As(err, new(*http.MaxBytesError)):
		return tooLarge(p.client.options.MaxRequest)
	case err != nil:
		return fault.Mark(fault.Input, fmt.Errorf("read the request: %w", err))
	}
	if transform != nil {
		if data, err = transform(data); err != nil {
			return fault.Mark(fault.Input, fmt.Errorf("read the request: %w", err))
		}
	}
	var said struct {
		Stream *bool
		looseSettings
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return fault.Mark(fault.Input, fmt.Errorf("read the request: %w", err))
	}
	p.x.Request, p.x.Stream = data, said.Stream != nil && *said.Stream
	p.x.Answer.Params = said.sampling()
	if s := p.x.Answer.Params.Seed; s != nil {
		p.x.Answer.Seed = *s
	}
	return nil
}
