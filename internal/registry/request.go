package registry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const maxTries = 6 // in a row without anything gained

// call is one request to the registry.
type call struct {
	method string
	url    *url.URL
	header map[string]string
	body   io.Reader // nil for none; a call with a body is made once
	size   int64     // of the body
	work   int64     // bytes that the registry may have to look at before it answers
}

// send makes one request. The answer's body is watched: no byte for Options.Stall, or hardly any, ends it.
func (r *Repository) send(ctx context.Context, c call) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{stall: r.o.Stall, timer: time.AfterFunc(r.o.Stall, func() { cancel(errStalled) }), cancel: cancel}
	q, err := http.NewRequestWithContext(ctx, c.method, c.url.String(), nil)
	if err != nil {
		w.Close()
		return nil, bare(err)
	}
	for k, v := range c.header {
		q.Header.Set(k, v)
	}
	// A registry that hashes an upload only at its end may take a while; what lies in the socket's buffers takes one too.
	patience := 2*r.o.Stall + time.Duration(max(c.size, c.work)>>22)*time.Second
	var out *outgoing
	if c.body != nil && c.size > 0 {
		out = &outgoing{r: c.body, left: c.size, timer: w.timer, stall: r.o.Stall, patience: patience}
		q.ContentLength, q.Body = c.size, out
	} else if c.body != nil {
		q.Body = http.NoBody
	}
	if c.work > 0 {
		w.timer.Reset(patience)
	}
	a, err := r.client.Do(q)
	out.Close() // nothing reads c.body from here on
	w.timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		w.Close()
		return nil, bare(err)
	}
	w.body, w.ctx = a.Body, ctx
	a.Body = w
	return a, nil
}

// do makes a request until its answer is one of those wanted, or the fault is one that time does not mend.
func (r *Repository) do(ctx context.Context, c call, want ...int) (*http.Response, error) {
	for t := r.tries(); ; {
		a, err := r.want(ctx, c, want...)
		if err == nil {
			return a, nil
		}
		if c.body != nil {
			return nil, err
		}
		if err := t.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// want makes a request once.
func (r *Repository) want(ctx context.Context, c call, want ...int) (*http.Response, error) {
	a, err := r.send(ctx, c)
	if err != nil {
		return nil, err
	}
	if slices.Contains(want, a.StatusCode) {
		return a, nil
	}
	defer a.Body.Close()
	return nil, newStatusError(a)
}

// tries counts faults in a row.
type tries struct {
	pause time.Duration
	n     int
}

func (r *Repository) tries() *tries { return &tries{pause: r.o.Pause} }

// gained says that the last try brought something.
func (t *tries) gained() { t.n = 0 }

// again waits before the next try. It returns err when none is worth it, and what ended ctx if anything did.
func (t *tries) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.n++; lasting(err) || t.n >= maxTries {
		return err
	}
	wait := t.pause << min(t.n-1, 4)
	wait += rand.N(wait/4 + 1) // so that many clients do not come back at once
	if status := (*statusError)(nil); errors.As(err, &status) {
		wait = max(wait, status.after)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return nil
	}
}

// drain ends an answer whose body does not matter, so that its connection can serve again.
func drain(a *http.Response) {
	_, _ = io.CopyN(io.Discard, a.Body, 16<<10)
	a.Body.Close()
}
