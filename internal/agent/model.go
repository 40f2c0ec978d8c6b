package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	defaultGreeting = "Who are you?"
	maxAnswer       = 64 // tokens: enough to see that it thinks, little enough for a slow processor
)

// answer is what the model said, and how fast.
type answer struct {
	text   string
	tokens int
	rate   float64 // tokens a second, 0 when not known
}

// modelServer speaks the chat interface that llama.cpp, vLLM and others share (OpenAI API, chat completions).
type modelServer struct {
	url  string
	http http.Client
}

// loading says that a server is there and not ready.
type loading struct{ status string }

func (l loading) Error() string { return "model is loading (" + l.status + ")" }

// ask puts one question at temperature 0.
func (m *modelServer) ask(ctx context.Context, question string) (answer, error) {
	var models struct{ Data []struct{ ID string } }
	if err := m.call(ctx, http.MethodGet, "/v1/models", nil, &models); err != nil {
		return answer{}, err
	}
	body := map[string]any{
		"messages":    []map[string]string{{"role": "user", "content": question}},
		"temperature": 0, "seed": 0, "max_tokens": maxAnswer, "stream": false,
	}
	if len(models.Data) > 0 {
		body["model"] = models.Data[0].ID
	}
	var reply struct {
		Choices []struct{ Message struct{ Content string } }
		Usage   struct {
			CompletionTokens int `json:"completion_tokens"`
		}
		Timings struct {
			PerSecond float64 `json:"predicted_per_second"`
		}
	}
	begin := time.Now()
	if err := m.call(ctx, http.MethodPost, "/v1/chat/completions", body, &reply); err != nil {
		return answer{}, err
	}
	a := answer{tokens: reply.Usage.CompletionTokens, rate: reply.Timings.PerSecond}
	if len(reply.Choices) > 0 {
		a.text = strings.TrimSpace(reply.Choices[0].Message.Content)
	}
	if a.text == "" {
		return answer{}, final{fmt.Errorf("model gave an empty answer")}
	}
	// llama.cpp times itself, and reports absurd rates for a single token.
	if a.rate <= 0 || a.rate > 1e6 {
		a.rate = float64(a.tokens) / time.Since(begin).Seconds()
	}
	return a, nil
}

func (m *modelServer) call(ctx context.Context, method, path string, body, into any) error {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.url+path, in)
	if err != nil {
		return final{err}
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := m.http.Do(req)
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("model: %w", err)
	case res.StatusCode == http.StatusServiceUnavailable:
		return loading{res.Status}
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("model: %s: %s: %s", path, res.Status, cmp.Or(string(data[:min(200, len(data))]), "no text"))
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("model: %s: %w", path, err)
	}
	return nil
}
