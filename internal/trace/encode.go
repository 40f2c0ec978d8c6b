package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/fault"
)

const timeForm = "2006-01-02T15:04:05.000000Z" // RFC 3339

// Parse reads one JSON line. Keys that it does not know are left out; an error has kind Input.
func Parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fault.Mark(fault.Input, fmt.Errorf("parse trace: %w", err))
	}
	if r.Time.IsZero() || r.ID == "" {
		return Record{}, fault.Mark(fault.Input, errors.New("parse trace: no time or no id"))
	}
	if r = clean(r, nil); !writable(r.Time) {
		return Record{}, fault.Mark(fault.Input, fmt.Errorf("parse trace: year %d", r.Time.Year()))
	}
	return r, nil
}

// writable says whether RFC 3339 can tell t.
func writable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

// clean returns a copy of r in the one form that is written: UTC, microseconds, UTF-8, without secrets.
func clean(r Record, redact func(string) string) Record {
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	text := func(s *string) {
		if redact != nil {
			if next := redact(*s); next != *s {
				*s, r.Redacted = next, true
			}
		}
		*s = valid(*s)
	}
	r.Messages, r.Settings.Stop = slices.Clone(r.Messages), slices.Clone(r.Settings.Stop)
	for _, s := range []*string{&r.ID, &r.Source, &r.Role, &r.Mode, &r.Model, &r.Prompt, &r.Answer, &r.Error} {
		text(s)
	}
	for i := range r.Messages {
		text(&r.Messages[i].Role)
		text(&r.Messages[i].Content)
	}
	for i := range r.Settings.Stop {
		text(&r.Settings.Stop[i])
	}
	if r.Redacted {
		r.Tokens = nil // they spell the secret
	}
	return r
}

// valid replaces each byte that is no UTF-8, as encoding/json does.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

type stamped struct { // the order of keys: time first, for a quick look
	Time string `json:"time"`
	plain
}
type plain Record

// appendJSON writes a clean record as a line. What a terminal would obey is escaped.
func appendJSON(to *bytes.Buffer, r Record) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(stamped{r.Time.Format(timeForm), plain(r)}); err != nil {
		return fault.Mark(fault.Input, err)
	}
	body := b.Bytes()
	for len(body) > 0 {
		i := bytes.IndexFunc(body, harmful)
		if i < 0 || body[i] == '\n' {
			break
		}
		c, n := utf8.DecodeRune(body[i:])
		to.Write(body[:i])
		fmt.Fprintf(to, `\u%04x`, c)
		body = body[i+n:]
	}
	to.Write(body)
	return nil
}

// harmful says whether a terminal may obey r, or show what follows in another order.
func harmful(r rune) bool {
	if r < 0x7f {
		return r < 0x20
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}

// appendSafe writes s with what is harmful spelled out; keep names what may stay.
func appendSafe(to *bytes.Buffer, s, keep string) {
	for {
		i := strings.IndexFunc(s, func(r rune) bool { return harmful(r) && !strings.ContainsRune(keep, r) })
		if i < 0 {
			to.WriteString(s)
			return
		}
		c, n := utf8.DecodeRuneInString(s[i:])
		to.WriteString(s[:i])
		if short := strings.IndexRune("\n\r\t", c); short >= 0 {
			to.WriteString(`\n\r\t`[2*short : 2*short+2])
		} else {
			fmt.Fprintf(to, `\u%04x`, c)
		}
		s = s[i+n:]
	}
}
