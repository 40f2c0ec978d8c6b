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
	err  error          // that ended the connection
	busy sync.WaitGroup // asking, perhaps in vain
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
	p.busy.Wait()
	p.l.close()
	return err
}

// ask sends a request and waits for the answer. When ctx ends it does not wait any longer, and nothing can be asked again.
func (p *Peer) ask(ctx context.Context, m message) (answer message, err error) {
	if p.err != nil {
		return answer, p.err
	}
	type said struct {
		m   message
		err error
	}
	done := make(chan said, 1)
	p.busy.Go(func() {
		var got said
		if got.err = p.l.send(m, false); got.err == nil {
			got.m, got.err = p.l.receive()
		}
		done <- got
	})
	select {
	case got := <-done:
		answer, err = got.m, got.err
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

// Fetch is a state.Fetch of what was collected last. One piece is in memory at a time.
func (p *Peer) Fetch(ctx context.Context, list []state.Piece, use func(state.Piece, []byte) error) error {
	if p.err != nil {
		return p.err
	}
	slots := make(chan struct{}, window)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for _, piece := range list {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := p.l.send(message{Do: "piece", Sum: piece.Sum.String()}, false); err != nil {
				return fmt.Errorf("the connection to %s broke: %w", p.Name, err)
			}
		}
		return nil
	})
	var lost error // a piece that is not there any more, or could not be used: the others are waited for all the same
	g.Go(func() error {
		for _, piece := range list {
			if err := p.next(piece, lost == nil, use); p.err != nil {
				return err
			} else if err != nil && lost == nil {
				lost = err
			}
			<-slots
			if err := context.Cause(ctx); err != nil {
				p.err = err // answers are still on their way: nothing else can be asked
				return err
			}
		}
		return nil
	})
	return cmp.Or(g.Wait(), lost)
}

// next takes the next piece that was asked for.
func (p *Peer) next(piece state.Piece, wanted bool, use func(state.Piece, []byte) error) error {
	answer, err := p.l.receive()
	if err != nil {
		p.err = fmt.Errorf("the connection to %s broke: %w", p.Name, err)
		return p.err
	}
	if err := answer.fault(); err != nil {
		return fault.Mark(fault.Untrusted, fmt.Errorf("%s: %w", p.Name, err))
	}
	if answer.Sum != piece.Sum.String() || answer.Size != piece.Size {
		return fmt.Errorf("%s sends another piece than %s: %w", p.Name, piece.Sum, artifact.ErrDigest)
	}
	if !wanted {
		return nil
	}
	return use(piece, answer.data)
}

// put sends a piece that a plan wants.
func (p *Peer) put(piece state.Piece, data []byte) error {
	if p.err != nil {
		return p.err
	}
	if err := p.l.send(message{Do: "put", Sum: piece.Sum.String(), data: data}, true); err != nil {
		p.err = fmt.Errorf("the connection to %s broke: %w", p.Name, err)
	}
	return p.err
}
