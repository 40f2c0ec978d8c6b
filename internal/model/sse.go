package model

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEvent bounds an event in bytes. llama.cpp's have some hundred; with probabilities some ten thousand.
const maxEvent = 1 << 20

var errEvent = errors.New("one of its events is too large")

// decoder reads an event stream (WHATWG HTML, section 9.2.6, "Interpreting an event stream"). Only the data of events
// matters here. Beyond the standard the field "error" counts as data: older llama.cpp tells errors so.
type decoder struct {
	r      *bufio.Reader
	line   []byte
	begun  bool // the mark at the beginning was looked for
	skipLF bool // the last line ended with CR
}

func newDecoder(r io.Reader) *decoder { return &decoder{r: bufio.NewReader(r)} }

// next returns the data of the next event, valid until the next call; io.EOF at the end. An event that the end cuts off
// is dropped, as the standard says.
func (d *decoder) next() ([]byte, error) {
	var data []byte
	any := false
	for {
		line, err := d.readLine()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if any {
				return data, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		if name := string(field); name != "data" && name != "error" {
			continue
		}
		if any {
			data = append(data, '\n')
		}
		any = true
		if data = append(data, bytes.TrimPrefix(value, []byte(" "))...); len(data) > maxEvent {
			return nil, errEvent
		}
	}
}

// readLine reads to CR, LF or both. It never waits for a byte behind the end of a line: it may not come for long.
func (d *decoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		b, err := d.r.ReadByte()
		if err != nil {
			return nil, err
		}
		skip := d.skipLF && b == '\n'
		if d.skipLF = false; skip {
			continue
		}
		if b == '\r' || b == '\n' {
			d.skipLF = b == '\r'
			if !d.begun {
				d.begun, d.line = true, bytes.TrimPrefix(d.line, []byte("\xef\xbb\xbf"))
			}
			return d.line, nil
		}
		if d.line = append(d.line, b); len(d.line) > maxEvent {
			return nil, errEvent
		}
	}
}
