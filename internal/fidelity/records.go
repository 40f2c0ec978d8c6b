package fidelity

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	markSize  = 8       // bytes of a record's hash
	maxMarks  = 1 << 16 // records of one document or collection whose hashes a baseline keeps
	maxRecord = 16 << 20
)

// Records is a list of records: JSON lines, or the vectors of a collection.
type Records struct {
	Count  int    `json:"count"`
	SHA256 string `json:"sha256"`          // of the records' sha256, one after the other
	Marks  []byte `json:"marks,omitempty"` // 8 bytes of each record's sha256; none for more than 65536 records

	before string // SHA256 after as many records as another list had; not kept
}

// tally makes Records.
type tally struct {
	r    Records
	all  interface{ Sum([]byte) []byte }
	hash io.Writer
	was  int // records of the list to compare with
}

func newTally(was int) *tally {
	h := sha256.New()
	return &tally{all: h, hash: h, was: was}
}

func (t *tally) add(record [sha256.Size]byte) {
	t.hash.Write(record[:])
	t.r.Count++
	if t.r.Count <= maxMarks {
		t.r.Marks = append(t.r.Marks, record[:markSize]...)
	}
	if t.r.Count == t.was {
		t.r.before = fmt.Sprintf("%x", t.all.Sum(nil))
	}
}

func (t *tally) end() *Records {
	t.r.SHA256 = fmt.Sprintf("%x", t.all.Sum(nil))
	if t.was == 0 {
		t.r.before = fmt.Sprintf("%x", sha256.Sum256(nil))
	}
	if t.r.Count > maxMarks {
		t.r.Marks = nil
	}
	return &t.r
}

// lines reads JSON lines. Empty lines are none, and a last line that was cut short is none yet.
func lines(ctx context.Context, r io.Reader, was int) (*Records, error) {
	t := newTally(was)
	err := eachLine(ctx, r, func(line []byte) error {
		t.add(sha256.Sum256(line))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t.end(), nil
}

// errEnough ends eachLine without an error.
var errEnough = errors.New("enough")

func eachLine(ctx context.Context, r io.Reader, take func([]byte) error) error {
	b := bufio.NewReaderSize(r, 256<<10)
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := readLine(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", n, err)
		}
		end := err != nil
		if line = bytes.TrimSpace(line); len(line) > 0 && (!end || json.Valid(line)) {
			switch err := take(line); {
			case errors.Is(err, errEnough):
				return nil
			case err != nil:
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if end {
			return nil
		}
	}
}

// readLine returns a line of at most maxRecord bytes, with io.EOF at one that no newline ends.
func readLine(b *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := b.ReadSlice('\n')
		if err == nil && long == nil {
			return part, nil
		}
		if long = append(long, part...); len(long) > maxRecord {
			return nil, bad("a record of more than %d bytes", maxRecord)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return long, err
		}
	}
}

// lost says what of the old records is not among the new ones; "" is nothing. grown is how many came since.
func lost(was, is *Records) (text string, grown int) {
	switch more := is.Count - was.Count; {
	case is.SHA256 == was.SHA256 && more == 0:
		return "", 0
	case more > 0 && is.before == was.SHA256:
		return "", more
	case was.Marks == nil || is.Marks == nil:
		return fmt.Sprintf("%d records, were %d; they are not the same", is.Count, was.Count), 0
	}
	now := map[[markSize]byte]int{}
	for i := 0; i < len(is.Marks); i += markSize {
		now[[markSize]byte(is.Marks[i:])]++
	}
	gone := 0
	for i := 0; i < len(was.Marks); i += markSize {
		mark := [markSize]byte(was.Marks[i:])
		if now[mark]--; now[mark] < 0 {
			gone++
		}
	}
	switch added := is.Count - was.Count + gone; {
	case gone == 0 && added == 0:
		return "the records are in another order", 0
	case gone == 0:
		return "", added
	case added == 0:
		return fmt.Sprintf("%d of %s are missing", gone, plural(was.Count, "record")), 0
	default:
		return fmt.Sprintf("%d of %s are missing or changed, %d are others", gone, plural(was.Count, "record"), added), 0
	}
}
