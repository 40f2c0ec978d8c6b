package fidelity

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxReply bounds an answer of a server in bytes: a page of Chroma's vectors is the largest.
const maxReply = 64 << 20

// service is a JSON API over HTTP.
type service struct {
	name string // for errors
	url  string
	http *http.Client
}

// refused is an answer that is none.
type refused struct {
	status int
	text   string
}

func (r refused) Error() string {
	return cmp.Or(strings.TrimSpace(fmt.Sprintf("%d %s: %s", r.status, http.StatusText(r.status), short(r.text, 200))), "no text")
}

// call posts body, or gets where it is nil, and reads the answer into out.
func (s *service) call(ctx context.Context, path string, body, out any) error {
	method, in := http.MethodGet, io.Reader(nil)
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask %s: %w", s.name, err)
		}
		method, in = http.MethodPost, bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(s.url, "/")+path, in)
	if err != nil {
		return fmt.Errorf("ask %s: %w", s.name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", s.name, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	switch {
	case err != nil:
		return fmt.Errorf("ask %s: %w", s.name, err)
	case len(data) > maxReply:
		return fmt.Errorf("ask %s: %s: more than %d bytes", s.name, path, maxReply)
	case res.StatusCode/100 != 2:
		return fmt.Errorf("ask %s: %s: %w", s.name, path, refused{res.StatusCode, string(data)})
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("ask %s: %s: %w", s.name, path, err)
	}
	return nil
}

// ready waits while the server starts or loads its model.
func (s *service) ready(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(patience, defaultPatience), errors.New("not ready in time"))
	defer cancel()
	for {
		var health struct{ Status string }
		err := s.call(ctx, "/health", nil, &health)
		var r refused
		if errors.As(err, &r) && r.status != http.StatusServiceUnavailable {
			return err
		}
		if err == nil && health.Status != "ok" {
			err = fmt.Errorf("%s: its health is %q", s.name, short(health.Status, 80))
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
