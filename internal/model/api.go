package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

const (
	maxSmall = 4 << 20  // bytes of the server's small answers; the chat template is the largest part
	maxError = 64 << 10 // bytes of what it says of an error
)

// Props is what /props says of the server and its model.
type Props struct {
	Slots    int    `json:"slots"`
	Context  int    `json:"context"` // tokens of a slot
	Path     string `json:"path"`    // of the model, as the server sees it
	Build    string `json:"build"`
	Template string `json:"template"` // of a chat
}

// Props asks the server what it is.
func (c *Client) Props(ctx context.Context) (Props, error) {
	var p struct {
		Slots    int    `json:"total_slots"`
		Path     string `json:"model_path"`
		Template string `json:"chat_template"`
		Build    string `json:"build_info"`
		Defaults struct {
			Context int `json:"n_ctx"`
		} `json:"default_generation_settings"`
	}
	if err := c.call(ctx, "/props", nil, &p); err != nil {
		return Props{}, err
	}
	return Props{p.Slots, p.Defaults.Context, p.Path, p.Build, p.Template}, nil
}

// Tokenize returns the tokens of a text; special tokens are taken as text.
func (c *Client) Tokenize(ctx context.Context, text string) ([]int, error) {
	var out struct{ Tokens []int }
	err := c.call(ctx, "/tokenize", map[string]any{"content": text}, &out)
	return out.Tokens, err
}

// call posts body, or gets where it is nil, and reads the answer into out where that is not nil.
func (c *Client) call(ctx context.Context, path string, body, out any) error {
	w := watch(ctx, c.options.Probe, c.options.Probe)
	defer w.stop()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return fmt.Errorf("ask the model: %w", err)
		}
	}
	res, err := c.send(w, path, data)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := readAll(res.Body, maxSmall)
	if err != nil {
		return fmt.Errorf("ask the model: %s: %w", path, w.reason(err))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBroken, path, err)
	}
	return nil
}

// send posts data, or gets where it is nil. What it returns has status 200; the caller closes its body.
func (c *Client) send(w *watchdog, path string, data []byte) (*http.Response, error) {
	method, in := http.MethodGet, io.Reader(nil)
	if data != nil {
		method, in = http.MethodPost, bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(w.ctx, method, c.url+path, in)
	if err != nil {
		return nil, fmt.Errorf("ask the model: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		if w.ctx.Err() != nil {
			return nil, fmt.Errorf("ask the model: %w", w.reason(err))
		}
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the address, which is no client's business
		}
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxError))
	return nil, statusError(res.StatusCode, message(text))
}

var errTooMuch = errors.New("more bytes than allowed")

// readAll reads to the end, which must come within limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooMuch
	}
	return data, err
}
