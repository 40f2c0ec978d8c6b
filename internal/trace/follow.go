package trace

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Line is a trace as it stands in the file.
type Line struct {
	Raw    []byte // JSON, without newline
	Cursor Cursor // the place behind it
	record *Record
}

// Record parses the line. An error has kind Input: somebody else wrote it.
func (l Line) Record() (Record, error) {
	if l.record != nil {
		return *l.record, nil
	}
	return Parse(l.Raw)
}

const pause = 200 * time.Millisecond // between looks for new lines

// Follow gives the lines behind from, each once and in order, and waits for new ones, over rotations, until ctx ends. It may
// run in another process than the Writer's, before there is one, and looks five times a second. An error ends it: ErrGone
// if lines may have been missed, else that of ctx or of reading.
func Follow(ctx context.Context, dir string, from Cursor) iter.Seq2[Line, error] {
	return follow(ctx, dir, from, func() func(context.Context) error { return sleep })
}

// Follow is the function Follow, but hears of new lines at once.
func (w *Writer) Follow(ctx context.Context, from Cursor) iter.Seq2[Line, error] {
	return follow(ctx, w.dir, from, w.listen)
}

// listen returns what waits for a line that comes after now.
func (w *Writer) listen() func(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return sleep
	}
	if w.news == nil {
		w.news = make(chan struct{})
	}
	news := w.news
	return func(ctx context.Context) error {
		select {
		case <-news:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func sleep(ctx context.Context) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func follow(ctx context.Context, dir string, from Cursor, listen func() func(context.Context) error) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		t := &follower{dir: dir}
		defer func() { closeFile(t.f); closeFile(t.then) }()
		for {
			wait := listen() // before looking, so that no line falls between
			more, err := t.look(ctx, from, yield)
			if err == nil && more {
				err = wait(ctx)
			}
			if err != nil {
				yield(Line{}, fmt.Errorf("follow traces: %w", err))
			}
			if err != nil || !more {
				return
			}
		}
	}
}
