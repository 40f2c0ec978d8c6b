package migrate

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agibake/agibake/internal/agent"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/wire"
)

// collect answers with the tree as it is now; what it consists of can be asked for until the next one.
func (e *end) collect(ctx context.Context) (message, error) {
	if info, err := os.Stat(e.Root); err != nil || !info.IsDir() {
		return message{}, fault.Mark(fault.Input, fmt.Errorf("there is no state at %s", e.Root))
	}
	if err := e.remember(); err != nil {
		return message{}, err
	}
	if e.collected != nil {
		e.collected.Close()
		e.collected = nil
	}
	got, err := state.Collect(ctx, e.Root, state.CollectOptions{Scan: state.ScanOptions{Exclude: e.Exclude}, Memo: e.memo, Only: true, Progress: e.Progress})
	if err != nil {
		return message{}, err
	}
	e.collected = got
	t, err := state.Index(ctx, got.List, e.memo, e.Progress)
	if err != nil {
		return message{}, err
	}
	e.pieces = map[state.Sum]where{}
	answer := message{data: t.Encode()}
	for i := range got.List {
		f, offset := &got.List[i], int64(0)
		answer.Bytes += f.Size
		for _, p := range f.Pieces {
			e.pieces[p.Sum] = where{f, offset, p.Size}
			offset += p.Size
		}
	}
	answer.Needs = needs(e.Root)
	if got.Live != nil {
		answer.Count, answer.Warning = got.Live.FrozenMS, got.Live.Paused
	}
	return answer, nil
}

// needs is what an appliance's recipe says of its machine; nil if nobody says.
func needs(root string) *state.Needs {
	if root != wire.StateRoot {
		return nil
	}
	c, err := agent.NewSystem().LoadConfig()
	if err != nil || !c.GPU {
		return nil
	}
	return &state.Needs{GPU: c.GPU, CUDA: c.CUDA}
}

// remember opens the memo, once.
func (e *end) remember() (err error) {
	if e.memo != nil {
		return nil
	}
	if e.Memo == "" {
		e.memo = state.NewMemo()
		return nil
	}
	if e.memo, err = state.OpenMemo(e.Memo, e.Root); err == nil {
		e.memo.ForgetExports() // their bytes are made anew when somebody asks
	}
	return err
}

// piece answers with bytes of the state.
func (e *end) piece(m message) (message, error) {
	sum, err := parseSum(m.Sum)
	if err != nil {
		return message{}, err
	}
	at, ok := e.pieces[sum]
	if !ok {
		return message{}, fault.Mark(fault.Input, fmt.Errorf("piece %s is not in the state", m.Sum))
	}
	f, err := os.Open(at.file.From)
	if err != nil {
		return message{}, err
	}
	defer f.Close()
	data := make([]byte, at.size)
	if _, err := f.ReadAt(data, at.offset); err != nil {
		return message{}, fmt.Errorf("%s changed while it was read: %w", at.file.Path, err)
	}
	return message{Sum: m.Sum, data: data}, nil
}

func parseSum(text string) (s state.Sum, err error) {
	n, err := hex.Decode(s[:], []byte(text[:min(len(text), 2*len(s))]))
	if err != nil || n != len(s) || len(text) != 2*len(s) {
		return s, fault.Mark(fault.Untrusted, fmt.Errorf("%.80q is no digest", text))
	}
	return s, nil
}

// plan prepares for a tree and answers with the pieces that are missing. What the state that stands here has in common
// with it, a model above all, is taken from there.
func (e *end) plan(ctx context.Context, m message) (message, error) {
	t, err := state.DecodeTree(bytes.Clone(m.data))
	if err == nil {
		err = m.Needs.Check(ctx)
	}
	if err != nil {
		return message{}, err
	}
	if e.staging == "" {
		e.staging = state.Incoming(e.Root)
		if err := os.MkdirAll(filepath.Dir(e.staging), 0o755); err != nil {
			return message{}, err
		}
		if e.local, err = e.own(ctx); err != nil {
			return message{}, err
		}
	}
	before := e.receiver
	if before != nil {
		if err := before.Close(); err != nil {
			return message{}, err
		}
	}
	if e.receiver, err = state.Receive(ctx, t, e.staging, e.local, before, e.Progress); err != nil {
		e.receiver = before
		return message{}, err
	}
	var text strings.Builder
	missing := e.receiver.Missing()
	for _, p := range missing {
		fmt.Fprintf(&text, "%s %d\n", p.Sum, p.Size)
	}
	return message{Count: int64(len(missing)), data: []byte(text.String())}, nil
}

// own describes the state that stands here.
func (e *end) own(ctx context.Context) ([]state.Found, error) {
	list, err := state.Scan(ctx, e.Root, state.ScanOptions{})
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = e.remember()
	}
	if err != nil {
		return nil, err
	}
	if _, err := state.Index(ctx, list, e.memo, e.Progress); err != nil {
		return nil, nil // it changes meanwhile: then everything comes over the wire
	}
	return list, nil
}

func (e *end) put(m message) error {
	sum, err := parseSum(m.Sum)
	if err != nil {
		return err
	}
	if e.receiver == nil {
		return fault.Mark(fault.Usage, errors.New("a piece came before its tree"))
	}
	return e.receiver.Put(state.Piece{Sum: sum, Size: m.Size}, m.data)
}

func (e *end) finish() (message, error) {
	if e.receiver == nil {
		return message{}, fault.Mark(fault.Usage, errors.New("nothing was planned"))
	}
	if err := e.lost; err != nil {
		e.lost = nil
		return message{}, err
	}
	return message{Count: e.receiver.Kept()}, e.receiver.Finish()
}
