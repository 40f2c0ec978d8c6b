package registry

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// watch is the body of an answer.
type watch struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	spent  time.Duration // waiting, in this window
	got    int64         // bytes, in this window
	err    error         // it stays
}

const leastRate = 512 // bytes a second, over Options.Stall

// Read implements io.Reader. Only the time that a read takes counts, not the reader's own.
func (w *watch) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	began := time.Now()
	w.timer.Reset(w.stall)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.spent += time.Since(began)
	w.got += int64(n)
	if w.spent >= w.stall {
		if err == nil && float64(w.got) < leastRate*w.spent.Seconds() {
			err = errStalled
		}
		w.spent, w.got = 0, 0
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
	}
	w.err = err
	return n, err
}

// Close implements io.Closer.
func (w *watch) Close() error {
	w.timer.Stop()
	w.cancel(context.Canceled)
	if w.body != nil {
		return w.body.Close()
	}
	return nil
}

// outgoing is the body of a request. The clock runs while the connection takes bytes, not while the disk gives them.
type outgoing struct {
	mu              sync.Mutex
	r               io.Reader
	left            int64
	timer           *time.Timer
	stall, patience time.Duration
	closed          bool
}

// Read implements io.Reader.
func (o *outgoing) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, io.ErrClosedPipe
	}
	if o.left <= 0 {
		return 0, io.EOF
	}
	o.timer.Stop()
	n, err := o.r.Read(p[:min(int64(len(p)), o.left)])
	if o.left -= int64(n); o.left > 0 && err == nil {
		o.timer.Reset(o.stall)
	} else {
		o.timer.Reset(o.patience)
	}
	return n, err
}

// Close implements io.Closer. A transport may close a body long after the answer, or read on beside it.
func (o *outgoing) Close() error {
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.closed = true
	}
	return nil
}
