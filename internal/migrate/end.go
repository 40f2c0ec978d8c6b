package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

// EndOptions describe one end of a migration.
type EndOptions struct {
	Root     string        `json:"root"`     // the state
	Server   string        `json:"server"`   // address of llama.cpp's server there; "" asks none
	Chroma   string        `json:"chroma"`   // address of a Chroma server there; "" asks none
	Stop     string        `json:"stop"`     // shell command that ends what uses the state; "" is agi-model.service, if there is one
	Start    string        `json:"start"`    // begins it again
	Exclude  []string      `json:"exclude"`  // as in state.ScanOptions
	Prefixes int           `json:"prefixes"` // places where the style is compared; 0 is fidelity's own number
	Memo     string        `json:"-"`        // folder of memos; "" remembers nothing
	Progress progress.Func `json:"-"`
}

// end is one end: what it knows between two requests.
type end struct {
	EndOptions
	memo      *state.Memo
	collected *state.Collected
	pieces    map[state.Sum]where // of what was collected
	local     []state.Found       // of what stands at Root before anything comes in
	staging   string
	former    string // where what stood at Root is kept; "" if there was nothing
	receiver  *state.Receiver
	lost      error // of a put
	stopped   bool  // by us
	switched  bool  // what came in stands at Root
	handed    bool  // over: what is so now stays so
}

type where struct {
	file   *state.Found
	offset int64
	size   int64
}

// Serve is one end of a migration: it does what the other side of r and w asks until that hangs up. What it stopped it
// starts again then, unless the state was handed over.
func Serve(ctx context.Context, r io.Reader, w io.Writer, o EndOptions) (err error) {
	l, err := newLink(r, w)
	if err != nil {
		return err
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return err
	}
	o.Root = root
	e := &end{EndOptions: o}
	defer func() { err = errors.Join(err, e.leave()); l.close() }()
	for {
		m, err := l.receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Do == "put" { // not answered; finish tells whether all went well
			if e.lost == nil {
				e.lost = e.put(m)
			}
			continue
		}
		answer, err := e.do(ctx, m)
		if err != nil {
			answer = failure(err)
		}
		if err := l.send(answer, false); err != nil {
			return err
		}
	}
}

func (e *end) do(ctx context.Context, m message) (message, error) {
	switch m.Do {
	case "hello":
		return e.hello()
	case "collect":
		return e.collect(ctx)
	case "piece":
		return e.piece(m)
	case "plan":
		return e.plan(ctx, m)
	case "finish":
		return e.finish()
	case "stop":
		return message{}, e.stop(ctx)
	case "start":
		return message{}, e.start(ctx)
	case "switch":
		return e.exchange()
	case "undo":
		return message{}, e.undo(ctx)
	case "accept":
		return message{}, e.accept()
	case "record":
		return e.record(ctx)
	case "check":
		return e.check(ctx, m)
	case "selftest":
		return message{}, selfTest(ctx)
	case "hand":
		e.handed = true
		return message{}, nil
	}
	return message{}, fault.Mark(fault.Missing, fmt.Errorf("%q is not known here: the versions differ", m.Do))
}

func (e *end) hello() (message, error) {
	host, err := os.Hostname()
	if err != nil {
		return message{}, err
	}
	if err := state.Settle(e.Root); err != nil {
		return message{}, err
	}
	return message{Text: host, Count: protocol}, nil
}

// protocol is raised when an older end could not understand a newer one.
const protocol = 1

func (e *end) exchange() (message, error) {
	former, err := state.Switch(e.staging, e.Root, time.Now())
	if err != nil {
		return message{}, err
	}
	e.switched, e.former = true, former
	return message{Text: former}, nil
}

// undo brings back what stood at Root. What came in is kept, for the next attempt goes on with it.
func (e *end) undo(ctx context.Context) error {
	if err := e.stop(ctx); err != nil {
		return err
	}
	var err error
	if e.former != "" {
		var undone string
		if undone, err = state.Undo(e.Root); err == nil {
			err = os.Rename(undone, e.staging)
		}
	} else {
		err = os.Rename(e.Root, e.staging)
	}
	if err == nil {
		e.switched = false
	}
	return errors.Join(err, e.start(ctx))
}

func (e *end) accept() error {
	list, err := state.Formers(e.Root)
	for _, former := range list {
		err = errors.Join(err, os.RemoveAll(former))
	}
	return err
}

func (e *end) target() fidelity.Target {
	return fidelity.Target{Server: e.Server, Chroma: e.Chroma, Root: e.Root, Hardware: fidelity.LocalHardware()}
}

func (e *end) record(ctx context.Context) (message, error) {
	b, err := fidelity.Record(ctx, e.target(), fidelity.Options{Prefixes: e.Prefixes, Patience: 10 * time.Second}) // it is in use
	if err != nil {
		return message{}, err
	}
	data, err := b.Encode()
	return message{data: data}, err
}

// patience is how long a model may load before it answers.
const patience = 5 * time.Minute

func (e *end) check(ctx context.Context, m message) (message, error) {
	b, err := fidelity.DecodeBaseline(bytes.Clone(m.data))
	if err != nil {
		return message{}, err
	}
	v, err := fidelity.Check(ctx, e.target(), b, fidelity.Options{Patience: patience})
	if err != nil {
		return message{}, err
	}
	data, err := json.Marshal(v)
	return message{data: data}, err
}

// leave puts everything back that was not handed over.
func (e *end) leave() error {
	if e.collected != nil {
		e.collected.Close()
	}
	var err error
	if e.receiver != nil {
		err = e.receiver.Close()
	}
	switch {
	case e.handed:
	case e.switched: // the other side is gone before it said that all is well: the source goes on, and not both
		err = errors.Join(err, e.undo(context.Background()))
	case e.stopped:
		err = errors.Join(err, e.start(context.Background()))
	}
	return err
}
