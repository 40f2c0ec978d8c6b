package migrate

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/state"
)

// Peer is an end, as whoever asks sees it.
type Peer struct {
	Name string // for a person
	l    *link
	hang func() error
	err  error // that ended the connection
}

// NewPeer speaks to an end through r and w; hang ends the connection, and tells why it broke.
func NewPeer(name string, r io.Reader, w io.Writer, hang func() error) (*Peer, error) {
	l, err := newLink(r, w)
	return &Peer{Name: name, l: l, hang: sync.OnceValue(hang)}, err
}

// Local is an end in this process.
func Local(ctx context.Context, name string, o EndOptions) (*Peer, error) {
	theirs, w := io.Pipe()
	r, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Serve(ctx, theirs, out, o)
		out.CloseWithError(err)
		theirs.CloseWithError(err)
		done <- err
	}()
	return NewPeer(name, r, w, func() error { w.Close(); return <-done })
}

// Close hangs up.
func (p *Peer) Close() error {
	err := p.hang()
	p.l.close()
	return err
}

// ask sends a request and waits for the answer. When ctx ends it does not wait any longer, and nothing can be asked again.
func (p *Peer) ask(ctx context.Context, m message) (answer message, err error) {
	if p.err != nil {
		return answer, p.err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err = p.l.send(m, false); err == nil {
			answer, err = p.l.receive()
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		p.err = fmt.Errorf("%s: %w", p.Name, context.Cause(ctx))
		return message{}, p.err
	}
	if err != nil {
		if why := p.hang(); why != nil { // says more than that nothing comes
			err = why
		}
		p.err = fmt.Errorf("the connection to %s broke: %w", p.Name, err)
		return answer, p.err
	}
	if err := answer.fault(); err != nil {
		return answer, fault.Hint(fmt.Errorf("%s: %w", p.Name, err), fault.HintOf(err))
	}
	return answer, nil
}

// parsePlan reads the list of the pieces that are missing.
func parsePlan(data []byte) (list []state.Piece, total int64, err error) {
	for in := bufio.NewScanner(bytes.NewReader(data)); in.Scan(); {
		word, size, _ := strings.Cut(in.Text(), " ")
		sum, err := parseSum(word)
		if err != nil {
			return nil, 0, err
		}
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n <= 0 || n > state.LargePiece {
			return nil, 0, fault.Mark(fault.Untrusted, fmt.Errorf("a piece of %.20q bytes", size))
		}
		list, total = append(list, state.Piece{Sum: sum, Size: n}), total+n
	}
	return list, total, nil
}

// window is how many pieces are asked for before the first one came.
const window = 16

// transfer brings pieces from the source to the destination, one in memory at a time.
func (m *migration) transfer(ctx context.Context, stage string, list []state.Piece, total int64) error {
	if m.src.err != nil || m.dst.err != nil || len(list) == 0 {
		return nil
	}
	slots := make(chan struct{}, window)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for _, p := range list {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := m.src.l.send(message{Do: "piece", Sum: p.Sum.String()}, false); err != nil {
				return fmt.Errorf("the connection to %s broke: %w", m.src.Name, err)
			}
		}
		return nil
	})
	var lost error // a piece that is not there any more: the others are waited for all the same
	g.Go(func() error {
		var done int64
		for _, p := range list {
			if err := m.forward(p); m.src.err != nil || m.dst.err != nil {
				return err
			} else if err != nil && lost == nil {
				lost = err
			}
			<-slots
			done += p.Size
			m.o.Progress.Count(stage, m.To, done, total)
			if err := context.Cause(ctx); err != nil {
				m.src.err = err // answers are still on their way: nothing else can be asked
				return err
			}
		}
		return m.dst.l.out.Flush()
	})
	return cmp.Or(g.Wait(), lost)
}

// forward takes the next piece from the source to the destination.
func (m *migration) forward(p state.Piece) error {
	answer, err := m.src.l.receive()
	if err != nil {
		m.src.err = fmt.Errorf("the connection to %s broke: %w", m.src.Name, err)
		return m.src.err
	}
	if err := answer.fault(); err != nil {
		return fault.Mark(fault.Untrusted, fmt.Errorf("%s: %w", m.src.Name, err))
	}
	if answer.Sum != p.Sum.String() || answer.Size != p.Size {
		return fmt.Errorf("%s sends another piece than %s: %w", m.src.Name, p.Sum, artifact.ErrDigest)
	}
	if err := m.dst.l.send(message{Do: "put", Sum: answer.Sum, data: answer.data}, true); err != nil {
		m.dst.err = fmt.Errorf("the connection to %s broke: %w", m.dst.Name, err)
		return m.dst.err
	}
	m.Sent += p.Size
	return nil
}
