package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	chatPath = "/v1/chat/completions"
	done     = "[DONE]" // the data of the last event
)

// Chat asks the model and hands on its words as they come; emit may be nil, and its error ends the exchange and is
// returned. When ctx ends Chat returns at once, unless emit keeps it. Where words came before an error, the answer has
// them. Errors wrap one of this package's, ctx's, emit's, or a *Refused.
func (c *Client) Chat(ctx context.Context, r Request, emit func(delta string) error) (Answer, error) {
	messages, params, err := r.compose(c.options.MaxTokens)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Params: params, Seed: *params.Seed}
	data, err := body(messages, params)
	if err != nil {
		return a, fmt.Errorf("ask the model: %w", err)
	}
	if int64(len(data)) > c.options.MaxRequest {
		return a, tooLarge(c.options.MaxRequest)
	}
	begin := time.Now()
	leave, err := c.admit(ctx)
	if err != nil {
		return a, fmt.Errorf("ask the model: %w", err)
	}
	defer leave()
	a.Timings.Wait = time.Since(begin)
	w := watch(ctx, c.options.First, c.options.Total)
	defer w.stop()
	err = c.stream(w, data, &a, func(_ []byte, delta string) error {
		if delta == "" || emit == nil {
			return nil
		}
		return emit(delta)
	})
	return a, c.judge(ctx, err)
}

// stream sends a request and hands on each event, once it is known to be sound, with the words in it.
func (c *Client) stream(w *watchdog, data []byte, a *Answer, emit func(event []byte, delta string) error) error {
	begin := time.Now()
	g := &gathering{Answer: a}
	defer func() {
		g.put()
		a.Timings.Total = time.Since(begin)
	}()
	res, err := c.send(w, chatPath, data)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	limited := &io.LimitedReader{R: res.Body, N: c.options.MaxStream}
	for d := newDecoder(limited); ; w.expect(c.options.Between) {
		event, err := d.next()
		if err != nil {
			return c.ended(w, a, err, limited.N <= 0)
		}
		w.pause()
		last, delta := string(event) == done, ""
		if !last {
			if delta, err = g.add(event); err != nil {
				return err
			}
		}
		c.view.lives()
		if delta != "" && a.Timings.First == 0 {
			a.Timings.First = time.Since(begin)
		}
		if int64(g.text.Len()+g.reasoning.Len()) > c.options.MaxAnswer {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLong, c.options.MaxAnswer)
		}
		if err := emit(event, delta); err != nil {
			return stopped{err}
		}
		if last {
			return nil
		}
	}
}

// ended says what a stream that gives no further event is.
func (c *Client) ended(w *watchdog, a *Answer, err error, full bool) error {
	switch {
	case w.ctx.Err() != nil:
		return w.reason(err)
	case full:
		return fmt.Errorf("%w: more than %d bytes of stream", ErrTooLong, c.options.MaxStream)
	case errors.Is(err, io.EOF) && a.Finish != "": // other servers end without a mark
		return nil
	case errors.Is(err, io.EOF):
		err = errors.New("it broke off")
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// stopped is an error of who takes the words: no fault of the server.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// judge keeps what an exchange tells of the server, and gives its error.
func (c *Client) judge(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.As(err, new(stopped)), errors.As(err, new(inadmissible)), errors.As(err, new(*Refused)), errors.Is(err, ErrTooLong):
	case errors.Is(err, ErrSlow):
		c.view.setHung(err.Error())
	case errors.Is(err, ErrLoading):
		c.view.set(Loading, err.Error())
	default:
		c.view.set(Down, err.Error())
	}
	return fmt.Errorf("ask the model: %w", err)
}
