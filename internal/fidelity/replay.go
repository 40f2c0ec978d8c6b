package fidelity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/agibake/agibake/internal/fault"
)

const maxEntries = 1000 // of a report; all are counted

// ReplayReport says how recorded exchanges went when they were asked again.
type ReplayReport struct {
	Total     int        `json:"total"`
	Equal     int        `json:"equal"`
	Differ    int        `json:"differ"`
	NotAsked  int        `json:"not_asked"` // sampled at random, failed or redacted, so that no rerun can be equal
	Exchanges []Exchange `json:"exchanges"` // those that are not equal, and equal ones while there is room for 1000
}

// Exchange is a question that was asked again.
type Exchange struct {
	Line     int    `json:"line"`
	ID       string `json:"id,omitempty"`
	Question string `json:"question"`
	Status   Status `json:"status"`
	Reason   string `json:"reason,omitempty"`
	Was      string `json:"was"`
	Is       string `json:"is"`
}

// Replay asks t's server every exchange of traces (JSON lines) again, with the recorded settings, and compares tokens, or
// words where a trace has no tokens. A line that is no trace is an error of kind Input that names it.
func Replay(ctx context.Context, t Target, traces io.Reader, o Options) (*ReplayReport, error) {
	if t.Server == "" {
		return nil, fault.Mark(fault.Usage, errors.New("replay: no server is given"))
	}
	t.Root, t.Chroma = "", "" // only the server is asked
	x, err := newExaminer(t, o)
	if err != nil {
		return nil, err
	}
	if err := x.server.ready(ctx, o.Patience); err != nil {
		return nil, err
	}
	r := &ReplayReport{Exchanges: []Exchange{}}
	err = eachLine(ctx, traces, func(line []byte) error {
		trace, err := parseTrace(line)
		if err != nil {
			return err
		}
		one, err := x.replay(ctx, trace)
		if err != nil {
			return err
		}
		r.Total++
		one.Line, one.ID = r.Total, trace.ID
		r.add(one)
		x.count("replay", r.Total, 0)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("replay traces: %w", err)
	}
	return r, nil
}

func (r *ReplayReport) add(one Exchange) {
	switch one.Status {
	case Pass:
		r.Equal++
	case Fail:
		r.Differ++
	default:
		r.NotAsked++
	}
	if len(r.Exchanges) < maxEntries {
		r.Exchanges = append(r.Exchanges, one)
	} else if i := slices.IndexFunc(r.Exchanges, func(e Exchange) bool { return e.Status == Pass }); i >= 0 && one.Status != Pass {
		r.Exchanges = append(slices.Delete(r.Exchanges, i, i+1), one)
	}
}

func (x *examiner) replay(ctx context.Context, t Trace) (Exchange, error) {
	out := Exchange{Question: t.question(), Was: t.Answer, Status: NotAsked, Reason: t.unrepeatable()}
	if out.Reason != "" {
		return out, nil
	}
	prompt := t.Prompt
	var err error
	if len(t.Messages) > 0 {
		if prompt, err = x.server.render(ctx, t.Messages); err != nil {
			return out, err
		}
	}
	settings, err := request(t.Settings)
	if err != nil {
		return out, err
	}
	got, err := x.server.complete(ctx, prompt, settings)
	if err != nil {
		return out, err
	}
	out.Is, out.Status, out.Reason = got.Content, Pass, ""
	switch {
	case len(t.Tokens) > 0 && !slices.Equal(t.Tokens, got.Tokens):
		was := Answer{Question: out.Question, Mode: t.Mode, Text: t.Answer, Tokens: t.Tokens}
		out.Status, out.Reason = Fail, parted(was, Answer{Text: got.Content, Tokens: got.Tokens})
	case len(t.Tokens) == 0 && t.Answer != got.Content:
		out.Status, out.Reason = Fail, "other words"
	}
	return out, nil
}

// Err is nil where at least one exchange was asked again and all were answered equally; else it has kind CheckFailed.
func (r *ReplayReport) Err() error {
	if r.Differ == 0 && r.Equal > 0 {
		return nil
	}
	return fault.Mark(fault.CheckFailed, fmt.Errorf("replay: %d of %s answered differently, %d not asked", r.Differ, plural(r.Total, "exchange"), r.NotAsked))
}
