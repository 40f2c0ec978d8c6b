package model

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// gate lets so many in as the server has slots, first come first served, and so many wait.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	limit   int64
	wait    time.Duration
}

// Load is how much the model has to do.
type Load struct {
	Running int `json:"running"`
	Waiting int `json:"waiting"`
	Slots   int `json:"slots"`
}

func newGate(o Options) *gate {
	return &gate{slots: make(chan struct{}, o.Slots), limit: int64(o.Waiting), wait: o.Wait}
}

// Load returns how many exchanges run and wait now.
func (c *Client) Load() Load {
	return Load{len(c.gate.slots), int(c.gate.waiting.Load()), cap(c.gate.slots)}
}

// enter waits for a slot. Who comes in must call leave once.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-g.slots }
	select {
	case g.slots <- struct{}{}:
		return leave, nil
	default:
	}
	if g.waiting.Add(1) > g.limit {
		g.waiting.Add(-1)
		return nil, busy("%d exchanges wait already", g.limit)
	}
	defer g.waiting.Add(-1)
	patience := time.NewTimer(g.wait)
	defer patience.Stop()
	select {
	case g.slots <- struct{}{}:
		return leave, nil
	case <-patience.C:
		return nil, busy("no slot was free within %s", g.wait)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func busy(format string, args ...any) error {
	return fault.Hint(fmt.Errorf("%w: %w", ErrBusy, fmt.Errorf(format, args...)), "ask again later")
}
