package trace

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/agibake/agibake/internal/fault"
)

// lineSet is a record in all forms.
type lineSet [len(forms)]bytes.Buffer

var sets = sync.Pool{New: func() any { return new(lineSet) }}

func (s *lineSet) free() {
	for i := range s {
		if s[i].Cap() > 1<<20 {
			return // a rare giant is not kept
		}
		s[i].Reset()
	}
	sets.Put(s)
}

func (w *Writer) render(set *lineSet, r Record) error {
	if r.Time.IsZero() {
		r.Time = w.o.Now()
	}
	if r.ID == "" {
		r.ID = NewID()
	}
	if len(r.Messages) > 0 && r.Prompt != "" {
		return fault.Mark(fault.Input, errors.New("messages and a prompt"))
	}
	if r.Answer == "" && r.Error == "" {
		r.Error = "no answer" // a trace that can be run again has one
	}
	r = clean(r, w.o.Redact)
	if len(r.ID) > maxID || !writable(r.Time) {
		return fault.Mark(fault.Input, fmt.Errorf("an id of %d bytes in the year %d", len(r.ID), r.Time.Year()))
	}
	if err := appendJSON(&set[jsonForm], r); err != nil {
		return err
	}
	if n := set[jsonForm].Len(); n > MaxLine {
		return fault.Mark(fault.Input, fmt.Errorf("a line of %d bytes: at most %d", n, MaxLine))
	}
	appendText(&set[textForm], r)
	appendLogfmt(&set[logfmtForm], r)
	return nil
}
