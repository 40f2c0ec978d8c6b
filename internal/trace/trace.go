// Package trace keeps the record of thinking: every exchange as one JSON line that can be run again, the same as plain
// text and as logfmt. docs/trace.md has the formats, the fsync policy, rotation and cursors.
package trace

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// MaxLine is the most bytes of a JSON line, its newline included; `fidelity replay` takes no longer ones.
const MaxLine = 16 << 20

// Record is an exchange. Its keys are those that `fidelity replay` reads. In text, bytes that are no UTF-8 become U+FFFD.
type Record struct {
	Time     time.Time `json:"time"`             // of the request; written in UTC, to the microsecond; zero is now
	ID       string    `json:"id"`               // "" gets a NewID
	Source   string    `json:"source,omitempty"` // rest, websocket, telegram, …
	Role     string    `json:"role,omitempty"`   // of who asked: read, talk, control
	Mode     string    `json:"mode,omitempty"`
	Model    string    `json:"model,omitempty"`    // digest of the weights, sha256:…
	Messages []Message `json:"messages,omitempty"` // of the request, through the chat template
	Prompt   string    `json:"prompt,omitempty"`   // of a request past the chat template
	Settings Settings  `json:"settings"`
	Answer   string    `json:"answer,omitempty"`
	Tokens   []int     `json:"tokens,omitempty"` // of the answer
	Timings  Timings   `json:"timings,omitzero"`
	Redacted bool      `json:"redacted,omitempty"` // a secret was removed, so that it cannot be run again; set by Append
	Error    string    `json:"error,omitempty"`    // why there is no answer, or not all of it
}

// Message is one turn of a dialogue.
type Message struct {
	Role    string `json:"role"` // system, user, assistant
	Content string `json:"content"`
}

// Settings are what an answer depends on beside the words. What is nil is the model server's default.
type Settings struct {
	Temperature   *float64 `json:"temperature,omitempty"`
	Seed          *uint32  `json:"seed,omitempty"`
	TopK          *int     `json:"top_k,omitempty"`
	TopP          *float64 `json:"top_p,omitempty"`
	MinP          *float64 `json:"min_p,omitempty"`
	RepeatPenalty *float64 `json:"repeat_penalty,omitempty"`
	Predict       *int     `json:"n_predict,omitempty"` // tokens at most
	Stop          []string `json:"stop,omitempty"`
}

// Timings count tokens and milliseconds, under llama.cpp's names where it has them.
type Timings struct {
	PromptN     int     `json:"prompt_n,omitempty"`     // tokens of the request
	PromptMS    float64 `json:"prompt_ms,omitempty"`    // reading them
	PredictedN  int     `json:"predicted_n,omitempty"`  // tokens of the answer
	PredictedMS float64 `json:"predicted_ms,omitempty"` // finding them
	QueueMS     float64 `json:"queue_ms,omitempty"`     // before the model server had the request
	FirstMS     float64 `json:"first_ms,omitempty"`     // from the request to the first token
	TotalMS     float64 `json:"total_ms,omitempty"`     // from the request to the end
}

// NewID returns 16 random hexadecimal digits.
func NewID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
