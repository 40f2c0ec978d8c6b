package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/mode"
)

// errLarge is a request with too many bytes.
var errLarge = errors.New("the request is too large")

func tooLarge(limit int64) error {
	return fault.Mark(fault.Input, fmt.Errorf("%w: more than %d bytes", errLarge, limit))
}

// inadmissible is why an exchange did not begin: it says nothing new of the server.
type inadmissible struct{ error }

func (i inadmissible) Unwrap() error { return i.error }

// statusLeft is nginx's number for a client that left before an answer.
const statusLeft = 499

// statusOf is the HTTP status for an error of this package.
func statusOf(err error) int {
	var r *Refused
	switch {
	case errors.As(err, &r):
		return r.Status
	case errors.Is(err, errLarge):
		return http.StatusRequestEntityTooLarge
	case fault.KindOf(err) == fault.Input:
		return http.StatusBadRequest
	case errors.Is(err, ErrBusy):
		return http.StatusTooManyRequests
	case errors.Is(err, ErrLoading), errors.Is(err, ErrDown):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrSlow):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// typeOf is the word of OpenAI's API for a status.
func typeOf(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status/100 == 4:
		return "invalid_request_error"
	case status == http.StatusServiceUnavailable:
		return "unavailable_error"
	}
	return "server_error"
}

// looseSettings reads what a client says of sampling for the record; what is of another type is the server's to refuse.
type looseSettings struct {
	Temperature   json.RawMessage `json:"temperature"`
	TopP          json.RawMessage `json:"top_p"`
	TopK          json.RawMessage `json:"top_k"`
	MinP          json.RawMessage `json:"min_p"`
	RepeatPenalty json.RawMessage `json:"repeat_penalty"`
	Seed          json.RawMessage `json:"seed"`
	MaxTokens     json.RawMessage `json:"max_tokens"`
	Completion    json.RawMessage `json:"max_completion_tokens"`
	Predict       json.RawMessage `json:"n_predict"`
	Stop          json.RawMessage `json:"stop"`
}

func (l looseSettings) sampling() (s mode.Sampling) {
	s.Temperature, s.TopP, s.TopK = loose[float64](l.Temperature), loose[float64](l.TopP), loose[int](l.TopK)
	s.MinP, s.RepeatPenalty, s.Seed = loose[float64](l.MinP), loose[float64](l.RepeatPenalty), loose[uint32](l.Seed)
	for _, raw := range []json.RawMessage{l.Predict, l.Completion, l.MaxTokens} {
		if n := loose[int](raw); n != nil {
			s.MaxTokens = n
		}
	}
	if list := loose[[]string](l.Stop); list != nil {
		s.Stop = *list
	} else if one := loose[string](l.Stop); one != nil {
		s.Stop = []string{*one}
	}
	return s
}

// loose returns nil for what is no T.
func loose[T any](raw json.RawMessage) *T {
	var v *T
	if raw == nil || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}
