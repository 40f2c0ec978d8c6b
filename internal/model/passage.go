package model

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// pass asks the model.
func (p *passage) pass(ctx context.Context) error {
	o := p.client.options
	came := time.Now()
	leave, err := p.client.admit(ctx)
	if err != nil {
		return inadmissible{err}
	}
	defer leave()
	p.x.Answer.Timings.Wait = time.Since(came)
	if !p.x.Stream {
		return p.whole(ctx)
	}
	w := watch(ctx, o.First, o.Total)
	defer w.stop()
	return p.client.stream(w, p.x.Request, &p.x.Answer, func(event []byte, _ string) error {
		if p.x.Status == 0 {
			p.begin(http.StatusOK, "text/event-stream")
		}
		return p.event(event)
	})
}

// whole is for an answer that comes at once: nothing tells whether the model thinks or hangs before Options.Total.
func (p *passage) whole(ctx context.Context) error {
	w := watch(ctx, p.client.options.Total, p.client.options.Total)
	defer w.stop()
	begin := time.Now()
	g := &gathering{Answer: &p.x.Answer}
	defer func() {
		g.put()
		g.Timings.Total = time.Since(begin)
	}()
	res, err := p.client.send(w, chatPath, p.x.Request)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := readAll(res.Body, 4*p.client.options.MaxAnswer)
	if errors.Is(err, errTooMuch) {
		return fmt.Errorf("%w: %w", ErrTooLong, err)
	}
	if err != nil {
		return p.client.ended(w, g.Answer, err, false)
	}
	if _, err := g.add(data); err != nil {
		return err
	}
	p.client.view.lives()
	p.begin(http.StatusOK, "application/json")
	return p.send(data)
}

func (p *passage) begin(status int, kind string) {
	h := p.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	p.x.Status = status
	p.w.WriteHeader(status)
}

func (p *passage) event(data []byte) error {
	lines := bytes.ReplaceAll(data, []byte("\n"), []byte("\ndata: "))
	return p.send(fmt.Appendf(nil, "data: %s\n\n", lines))
}

// send gives bytes to the client at once.
func (p *passage) send(data []byte) error {
	p.to.SetWriteDeadline(time.Now().Add(p.client.options.Write))
	_, err := p.w.Write(data)
	if err == nil {
		err = p.to.Flush()
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return stopped{fmt.Errorf("send the answer: %w", err)}
	}
	return nil
}

// fail tells the client, as an answer or, where that has begun, as the stream's last event.
func (p *passage) fail(ctx context.Context, err error) {
	status := statusOf(err)
	text, _ := json.Marshal(map[string]any{"error": apiError{status, err.Error(), typeOf(status)}})
	switch {
	case errors.As(err, new(stopped)):
	case ctx.Err() != nil:
		p.x.Status = cmp.Or(p.x.Status, statusLeft)
	case p.x.Status == 0:
		p.begin(status, "application/json")
		p.send(text)
	case p.x.Stream:
		p.event(text)
	}
}
