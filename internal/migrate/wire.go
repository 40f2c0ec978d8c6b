package migrate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/state"
)

// A message is a line of JSON and, behind it, as many bytes as its size says (docs/migrate.md, "Between the ends").
type message struct {
	Do      string       `json:"do,omitempty"` // of a request
	Sum     string       `json:"sum,omitempty"`
	Text    string       `json:"text,omitempty"`
	Count   int64        `json:"count,omitempty"`
	Bytes   int64        `json:"bytes,omitempty"`
	Error   string       `json:"error,omitempty"` // of an answer that is none
	Hint    string       `json:"hint,omitempty"`
	Kind    fault.Kind   `json:"kind,omitempty"`
	Warning []string     `json:"warning,omitempty"`
	Needs   *state.Needs `json:"needs,omitempty"`
	Size    int64        `json:"size,omitempty"` // bytes that follow
	data    []byte
}

const (
	maxLine = 1 << 20
	maxData = 256 << 20 // bytes of a tree; a piece has state.LargePiece at most
)

// link is one end's side of the connection. Both directions are compressed: text travels in a quarter of its size, and
// weights do not suffer.
type link struct {
	in   *bufio.Reader
	z    *zstd.Decoder
	out  *zstd.Encoder
	buf  []byte // of the last message
	sent int64  // bytes of messages, before compression
}

func newLink(r io.Reader, w io.Writer) (*link, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	out, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	return &link{in: bufio.NewReaderSize(z, maxLine), z: z, out: out}, err
}

// send writes a message; with more it may wait for the next one.
func (l *link) send(m message, more bool) error {
	m.Size = int64(len(m.data))
	head, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err = l.out.Write(append(head, '\n')); err == nil {
		_, err = l.out.Write(m.data)
	}
	l.sent += int64(len(head)) + 1 + m.Size
	if err == nil && !more {
		err = l.out.Flush()
	}
	return err
}

// receive reads a message; its data is valid until the next one.
func (l *link) receive() (m message, err error) {
	line, err := l.in.ReadSlice('\n')
	if err != nil {
		if (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && len(line) == 0 {
			return m, io.EOF
		}
		return m, fmt.Errorf("read message: %w", err)
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fault.Mark(fault.Untrusted, fmt.Errorf("read message %.80q: %w", line, err))
	}
	if m.Size < 0 || m.Size > maxData || m.Sum != "" && m.Size > state.LargePiece {
		return m, fault.Mark(fault.Untrusted, fmt.Errorf("read message: %d bytes are too many", m.Size))
	}
	if int64(cap(l.buf)) < m.Size {
		l.buf = make([]byte, m.Size)
	}
	m.data = l.buf[:m.Size]
	if _, err := io.ReadFull(l.in, m.data); err != nil {
		return m, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

// close lets go of what the link holds. Nothing is written: whatever was said has been flushed, and the other side may be gone.
func (l *link) close() { l.z.Close() }

// failure turns an error into an answer, and fault turns it back.
func failure(err error) message {
	return message{Error: err.Error(), Hint: fault.HintOf(err), Kind: fault.KindOf(err)}
}

func (m message) fault() error {
	if m.Error == "" {
		return nil
	}
	return fault.Hint(fault.Mark(m.Kind, errors.New(m.Error)), m.Hint)
}
