package trace

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/agibake/agibake/internal/fault"
)

// Removed stands where a secret was.
const Removed = "[removed]"

const (
	leastSecret = 4 // bytes; less would hit ordinary words
	leastCoded  = 8 // letters of a secret in another spelling
)

// Secrets removes what it was given from text. The zero value is ready; all methods may be called at once.
type Secrets struct {
	mu    sync.RWMutex
	found []string // longest first
	out   *strings.Replacer
}

// Add makes Redact remove a secret as it is, in URLs, in base64 (also within more text, as in Authorization headers) and
// in hexadecimal. One of less than 4 bytes is an error of kind Input.
func (s *Secrets) Add(secret string) error {
	if len(secret) < leastSecret {
		return fault.Mark(fault.Input, errors.New("redact: a secret of less than 4 bytes"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = append(s.found, secret)
	for _, v := range spellings(secret) {
		if len(v) >= leastCoded {
			s.found = append(s.found, v)
		}
	}
	// Of two that begin at the same place the longer one counts.
	slices.SortFunc(s.found, func(a, b string) int { return len(b) - len(a) })
	s.found = slices.Compact(s.found)
	pairs := make([]string, 0, 2*len(s.found))
	for _, f := range s.found {
		pairs = append(pairs, f, Removed)
	}
	s.out = strings.NewReplacer(pairs...)
	return nil
}

// Redact returns text without the secrets. It fits Options.Redact.
func (s *Secrets) Redact(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.out == nil {
		return text
	}
	return s.out.Replace(text)
}

func spellings(secret string) []string {
	out := []string{url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			// The letters at both ends depend on the neighbours too.
			coded := e.EncodeToString([]byte(strings.Repeat("x", before) + secret))
			end := (before + len(secret)) * 8 / 6
			out = append(out, coded[(before*8+5)/6:end])
		}
	}
	return out
}
