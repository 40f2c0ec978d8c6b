package model

import (
	"context"
	"fmt"
	"time"
)

// usable returns at once while the server is up, and else asks it, once for all who wait for that.
func (c *Client) usable(ctx context.Context) error {
	if c.Health().State == Up {
		return nil
	}
	came := time.Now()
	select {
	case c.view.probing <- struct{}{}:
		defer func() { <-c.view.probing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.view.mu.Lock()
	health, probed := c.view.health, c.view.probed
	c.view.mu.Unlock()
	if health.State != Up && probed.Before(came) {
		health = c.Probe(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case health.State == Up, c.view.isHung():
		return nil
	case health.State == Loading:
		return fmt.Errorf("%w: %s", ErrLoading, health.Reason)
	}
	return fmt.Errorf("%w: %s", ErrDown, health.Reason)
}

// admit waits until an exchange may begin. A server that hung gets one at a time, so that nobody waits behind it in vain.
func (c *Client) admit(ctx context.Context) (leave func(), err error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	if !c.view.isHung() {
		return c.gate.enter(ctx)
	}
	select {
	case c.view.trial <- struct{}{}:
	default:
		return nil, fmt.Errorf("%w: %s", ErrDown, c.Health().Reason)
	}
	out, err := c.gate.enter(ctx)
	if err != nil {
		<-c.view.trial
		return nil, err
	}
	return func() { out(); <-c.view.trial }, nil
}
