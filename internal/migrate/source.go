package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/state"
)

// Source is where a state comes from: a Peer, a snapshot, or a Peer by way of a repository.
type Source interface {
	String() string
	Collect(ctx context.Context) (*Content, error) // the state as it is now
	Fetch(ctx context.Context, list []state.Piece, use func(state.Piece, []byte) error) error
	record(ctx context.Context) ([]byte, error) // a baseline; nil if there is none
	do(ctx context.Context, what string) error  // hello, stop, start, hand
}

// Content is a state as it was at one instant.
type Content struct {
	Tree    *state.Tree
	Bytes   int64
	Frozen  int64    // milliseconds
	Writers []string // that stood still
	Needs   *state.Needs
}

func (p *Peer) String() string { return p.Name }

// Collect lists the state at the peer.
func (p *Peer) Collect(ctx context.Context) (*Content, error) {
	answer, err := p.ask(ctx, message{Do: "collect"})
	if err != nil {
		return nil, err
	}
	t, err := state.DecodeTree(answer.data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return &Content{Tree: t, Bytes: answer.Bytes, Frozen: answer.Count, Writers: answer.Warning, Needs: answer.Needs}, nil
}

func (p *Peer) record(ctx context.Context) ([]byte, error) {
	answer, err := p.ask(ctx, message{Do: "record"})
	return append([]byte(nil), answer.data...), err
}

func (p *Peer) do(ctx context.Context, what string) error {
	answer, err := p.ask(ctx, message{Do: what})
	if err == nil && what == "hello" && answer.Count != protocol {
		err = fault.Mark(fault.Missing, fmt.Errorf("%s speaks version %d and not %d: the versions of agibake differ", p.Name, answer.Count, protocol))
	}
	return err
}

// Snapshot is a Source that stands still.
type Snapshot struct {
	Name     string
	X        *state.Snapshot
	From     artifact.Reader
	Baseline []byte // of its fidelity; nil if nobody recorded one
}

func (s *Snapshot) String() string { return s.Name }

// Collect implements Source.
func (s *Snapshot) Collect(context.Context) (*Content, error) {
	return &Content{Tree: s.X.Tree, Bytes: s.X.Info.Bytes, Needs: s.X.Info.Needs}, nil
}

// Fetch implements Source.
func (s *Snapshot) Fetch(ctx context.Context, list []state.Piece, use func(state.Piece, []byte) error) error {
	return s.X.Fetch(s.From)(ctx, list, use)
}

func (s *Snapshot) record(context.Context) ([]byte, error) { return s.Baseline, nil }
func (s *Snapshot) do(context.Context, string) error       { return nil }

// Via is a Peer whose state is captured into a repository and comes from there, for a destination that is better reached
// that way, and to keep what moved.
type Via struct {
	*Peer
	To      state.Repository
	Options state.Options // of the captures
	x       *state.Snapshot
}

// Collect captures the peer's state into the repository.
func (v *Via) Collect(ctx context.Context) (*Content, error) {
	content, err := v.Peer.Collect(ctx)
	if err != nil {
		return nil, err
	}
	o := v.Options
	o.Info.Created = state.Moment(ctx, v.To, time.Now())
	o.Tags = append([]string{state.TimeTag(o.Info.Created)}, o.Tags...)
	o.Info.Needs = content.Needs
	if v.x != nil {
		o.Parent = v.x
	}
	got, err := state.CaptureTree(ctx, v.To, content.Tree, v.Peer.Fetch, o)
	if err != nil {
		return nil, err
	}
	v.x, err = state.Read(ctx, v.To, got.Index, o.Seal.Opener())
	return content, err
}

// Fetch implements Source.
func (v *Via) Fetch(ctx context.Context, list []state.Piece, use func(state.Piece, []byte) error) error {
	return v.x.Fetch(v.To)(ctx, list, use)
}
