package trace

import (
	"bytes"
	"errors"
	"io"
)

const (
	chunk = 64 << 10
	step  = 16 << 10 // a follower keeps so much, and there may be hundreds
)

// lines reads whole lines forward from off, which stands at the start of one.
type lines struct {
	r    io.ReaderAt
	off  int64 // of the next line
	buf  []byte
	room []byte // of buf, for the next read
	step int    // bytes to begin with
	most int    // bytes of a line; longer ones are passed over
}

func newLines(r io.ReaderAt, off int64) *lines {
	return &lines{r: r, off: off, step: step, most: MaxLine}
}

// next returns a line without its newline, good until the next call, or nil where no whole line is there (yet). A line comes
// from one read, so that a writer that takes a torn one back cannot mix it with another.
func (l *lines) next() ([]byte, error) {
	for size := l.step; ; size *= 2 {
		if i := bytes.IndexByte(l.buf, '\n'); i >= 0 {
			line := l.buf[:i]
			l.buf, l.off = l.buf[i+1:], l.off+int64(i)+1
			if size = l.step; len(line) > l.most {
				continue
			}
			return line, nil
		}
		if len(l.buf) > l.most {
			if there, err := l.pass(); err != nil || !there {
				return nil, err
			}
			size = l.step
		}
		n, err := l.fill(max(size, len(l.buf)+1))
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(l.buf, '\n') < 0 && !n {
			l.buf = nil
			return nil, nil
		}
	}
}

// fill reads again from the line's start and says whether there may be more.
func (l *lines) fill(size int) (bool, error) {
	if size > cap(l.room) {
		l.room = make([]byte, size)
	}
	b := l.room[:size]
	n, err := l.r.ReadAt(b, l.off)
	if l.buf = b[:n]; size > 1<<20 {
		l.room = nil // a rare giant is not kept
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return n == size, nil
}

// pass goes behind a line that is too long, if its end is there.
func (l *lines) pass() (bool, error) {
	at, b := l.off+int64(len(l.buf)), make([]byte, l.step)
	l.buf = nil
	for {
		n, err := l.r.ReadAt(b, at)
		if i := bytes.IndexByte(b[:n], '\n'); i >= 0 {
			l.off = at + int64(i) + 1
			return true, nil
		}
		at += int64(n)
		if n < len(b) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
	}
}

// backward reads whole lines from an end, which stands behind a newline or at 0.
type backward struct {
	r    io.ReaderAt
	end  int64
	buf  []byte // what stands before end
	step int
	most int
}

// newBackward begins with the last line of size bytes that has a newline.
func newBackward(r io.ReaderAt, size int64) (*backward, error) {
	end, err := lastEnd(r, size)
	return &backward{r: r, end: end, step: chunk, most: MaxLine}, err
}

// next returns the line before, without its newline, good until the next call, and where it ends; nil at the beginning.
func (b *backward) next() (line []byte, end int64, err error) {
	for size := b.step; b.end > 0; size *= 2 {
		if n := len(b.buf); n > 0 {
			i := bytes.LastIndexByte(b.buf[:n-1], '\n') + 1
			if i > 0 || int64(n) == b.end {
				line, end = b.buf[i:n-1], b.end
				b.buf, b.end = b.buf[:i], b.end-int64(n-i)
				if len(line) <= b.most {
					return line, end, nil
				}
				size = b.step
				continue
			}
			if n-1 > b.most {
				if err := b.pass(); err != nil {
					return nil, 0, err
				}
				size = b.step
			}
		}
		if err := b.fill(max(size, len(b.buf)+1)); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, nil
}

func (b *backward) fill(size int) error {
	size = int(min(int64(size), b.end))
	if size <= len(b.buf) {
		return nil
	}
	b.buf = make([]byte, size)
	if n, err := b.r.ReadAt(b.buf, b.end-int64(size)); n < size {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	return nil
}

// pass goes before a line that is too long.
func (b *backward) pass() (err error) {
	b.end, err = lastEnd(b.r, b.end-int64(len(b.buf)))
	b.buf = nil
	return err
}

// lastEnd is the place behind the last newline of the first size bytes, 0 without one.
func lastEnd(r io.ReaderAt, size int64) (int64, error) {
	b := make([]byte, chunk)
	for size > 0 {
		n := min(size, chunk)
		if got, err := r.ReadAt(b[:n], size-n); int64(got) < n {
			return 0, errors.Join(io.ErrUnexpectedEOF, err)
		}
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			return size - n + int64(i) + 1, nil
		}
		size -= n
	}
	return 0, nil
}
