package model

import (
	"context"
	"errors"
	"sync"
	"time"
)

// State is how the model server is.
type State string

// The states. A server that was not asked yet is Loading.
const (
	Up      State = "up"
	Loading State = "loading"
	Down    State = "down"
)

// Health is the client's view of the server.
type Health struct {
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"` // "" for Up
	Since  time.Time `json:"since"`            // of the state
}

// view is what exchanges and probes found out.
type view struct {
	mu      sync.Mutex
	health  Health
	hung    bool // gave no word in time: that /health answers proves nothing, until a word comes
	probed  time.Time
	probing chan struct{} // holds one
	trial   chan struct{} // holds one: who may try a server that hung
}

func newView() *view {
	return &view{health: Health{Loading, "not asked yet", time.Now()}, probing: make(chan struct{}, 1), trial: make(chan struct{}, 1)}
}

// Health returns the view as it is; nothing is asked.
func (c *Client) Health() Health {
	c.view.mu.Lock()
	defer c.view.mu.Unlock()
	return c.view.health
}

// set changes the view; Since stays while the state does.
func (v *view) set(state State, reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hung = false
	v.become(state, reason)
}

// lives is for every word of the server.
func (v *view) lives() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hung = false
	v.become(Up, "")
}

func (v *view) become(state State, reason string) {
	if v.health.State != state {
		v.health.Since = time.Now()
	}
	v.health.State, v.health.Reason = state, reason
}

func (v *view) setHung(reason string) {
	v.set(Down, reason)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hung = true
}

func (v *view) isHung() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.hung
}

// Probe asks the server's /health and returns the view then. It takes no longer than Options.Probe.
func (c *Client) Probe(ctx context.Context) Health {
	err := c.call(ctx, "/health", nil, nil)
	if ctx.Err() != nil {
		return c.Health()
	}
	v := c.view
	switch {
	case err == nil && v.isHung():
	case err == nil:
		v.lives()
	case errors.Is(err, ErrLoading):
		v.set(Loading, err.Error())
	default:
		v.set(Down, err.Error())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probed = time.Now()
	return v.health
}

// Watch probes the server at intervals until ctx ends.
func (c *Client) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		c.Probe(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
