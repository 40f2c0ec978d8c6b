package model

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// watchdog ends an exchange in which nothing happens for too long, or which takes too long.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	free   context.CancelFunc

	mu    sync.Mutex
	timer *time.Timer
	limit time.Duration // of the pause that is timed
}

// watch begins with the time for the first sign of life.
func watch(parent context.Context, first, total time.Duration) *watchdog {
	timed, free := context.WithTimeoutCause(parent, total, fmt.Errorf("%w: no end after %s", ErrSlow, total))
	ctx, cancel := context.WithCancelCause(timed)
	w := &watchdog{ctx: ctx, cancel: cancel, free: free, limit: first}
	w.timer = time.AfterFunc(first, w.bark)
	return w
}

func (w *watchdog) bark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel(fmt.Errorf("%w: no word for %s", ErrSlow, w.limit))
}

// pause stops the clock while others than the server are at work.
func (w *watchdog) pause() { w.timer.Stop() }

// expect gives the server so long for its next sign of life.
func (w *watchdog) expect(within time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = within
	w.timer.Reset(within)
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
	w.free()
}

// reason is why the exchange was ended, or else err.
func (w *watchdog) reason(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}
