package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"
)

// Query chooses traces; what is zero does not choose.
type Query struct {
	Since, Until time.Time // of requests, [Since, Until)
	Mode, Source string    // equal
	Text         string    // in messages, prompt, answer or error, in any case of letters
	Limit        int       // lines
	Newest       bool      // newest first, as they were written
	From         Cursor    // behind it, or with Newest before the line that has this cursor
}

// longestThought is how much earlier than its line a request may be, for leaving out whole files.
const longestThought = time.Hour

// Find gives the traces that q chooses. Lines that are no traces are passed over. It reads what there was when it began,
// a part at a time; files whose rotation was before Since are not opened. An error ends it.
func Find(ctx context.Context, dir string, q Query) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		if err := q.run(ctx, dir, yield); err != nil && !errors.Is(err, errEnough) {
			yield(Line{}, fmt.Errorf("find traces: %w", err))
		}
	}
}

var errEnough = errors.New("enough")

func (q Query) run(ctx context.Context, dir string, yield func(Line, error) bool) error {
	text, left := strings.ToLower(q.Text), q.Limit
	give := func(raw []byte, id string, end int64) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r, ok := q.match(raw, text)
		if !ok {
			return nil
		}
		if !yield(Line{bytes.Clone(raw), Cursor{id, end}, &r}, nil) {
			return errEnough
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}
	list, active, err := look(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer closeFile(active)
	at, begun := len(list), q.From == Cursor{}
	if !q.Newest {
		at = 0
	}
	for ; at >= 0 && at <= len(list); at += map[bool]int{true: -1, false: 1}[q.Newest] {
		if begun && q.skips(list, at) {
			continue
		}
		if err := q.file(dir, list, at, active, &begun, give); err != nil {
			return err
		}
	}
	if !begun {
		return gone()
	}
	return nil
}

// skips says whether no line of a file can be in the range of time.
func (q Query) skips(list []stamp, at int) bool {
	if at < len(list) && !q.Since.IsZero() && list[at].at.Add(time.Second).Before(q.Since) {
		return true
	}
	return at > 0 && !q.Until.IsZero() && list[at-1].at.Add(-longestThought).After(q.Until)
}

// file gives the lines of one file; begun turns true at that of q.From.
func (q Query) file(dir string, list []stamp, at int, active *os.File, begun *bool, give func([]byte, string, int64) error) error {
	f := active
	if at < len(list) {
		var err error
		if f, err = openStamp(dir, list[at]); errors.Is(err, fs.ErrNotExist) {
			return nil // pruned meanwhile
		} else if err != nil {
			return err
		}
		defer f.Close()
	}
	if f == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	id, size, start := fileID(f), info.Size(), int64(0)
	if !*begun {
		if id != q.From.File {
			return nil
		}
		*begun = true
		if q.Newest {
			size = min(size, q.From.Offset)
		} else {
			start = min(size, q.From.Offset)
		}
	}
	if q.Newest {
		return q.back(f, id, size, give)
	}
	for l := newLines(io.NewSectionReader(f, 0, size), start); ; {
		if raw, err := l.next(); err != nil || raw == nil {
			return err
		} else if err := give(raw, id, l.off); err != nil {
			return err
		}
	}
}

func (q Query) back(f *os.File, id string, size int64, give func([]byte, string, int64) error) error {
	b, err := newBackward(f, size)
	for err == nil {
		raw, end, next := b.next()
		if next != nil || raw == nil {
			return next
		}
		if (q.From != Cursor{id, end}) {
			err = give(raw, id, end)
		}
	}
	return err
}

func (q Query) match(raw []byte, text string) (Record, bool) {
	outside := func(t time.Time) bool {
		return !q.Since.IsZero() && t.Before(q.Since) || !q.Until.IsZero() && !t.Before(q.Until)
	}
	if t, ok := quickTime(raw); ok && outside(t) {
		return Record{}, false
	}
	r, err := Parse(raw)
	if err != nil || outside(r.Time) || q.Mode != "" && r.Mode != q.Mode || q.Source != "" && r.Source != q.Source {
		return Record{}, false
	}
	if text == "" {
		return r, true
	}
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	for _, m := range r.Messages {
		if has(m.Content) {
			return r, true
		}
	}
	return r, has(r.Prompt) || has(r.Answer) || has(r.Error)
}
