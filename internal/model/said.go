package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

func statusError(status int, text string) error {
	switch {
	case status == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: %s", ErrLoading, text)
	case status/100 == 4:
		return fault.Mark(fault.Input, &Refused{status, text})
	}
	return fmt.Errorf("%w: %d %s", ErrBroken, status, text)
}

// apiError is what llama.cpp and OpenAI's API say of an error. Code is a number or a text.
type apiError struct {
	Code    any    `json:"code"`
	Message string `json:"message"`
	Type    string `json:"type"`
}

// message finds the words in the body of an error.
func message(body []byte) string {
	var said struct{ Error apiError }
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		return short(said.Error.Message)
	}
	return cmp.Or(short(string(body)), "no text")
}

// short makes one bounded line of what the server said.
func short(s string) string {
	r := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " "))
	if len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return string(r)
}
