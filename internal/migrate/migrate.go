// Package migrate moves a state from one machine to another: in bulk while it is in use, then, with everything stopped,
// what changed since; the other machine starts with it, proves that it is the same mind, and only then is it handed over.
package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

// Options are how Run works.
type Options struct {
	NoCheck  bool // hand over without a fidelity check, or, where nobody recorded a baseline, a self-test
	Force    bool // also to a machine that lacks what the state needs
	Keep     bool // keep the former state of the destination
	Progress progress.Func
}

// Report says how a migration went.
type Report struct {
	From     string            `json:"from"`
	To       string            `json:"to"`
	Bytes    int64             `json:"bytes"`    // of the state
	Sent     int64             `json:"sent"`     // of pieces, before compression
	Delta    int64             `json:"delta"`    // of them, while all stood still
	Kept     int64             `json:"kept"`     // bytes that the destination had
	Downtime time.Duration     `json:"downtime"` // nanoseconds from stopping the source to the start of the destination
	Total    time.Duration     `json:"total"`    // nanoseconds
	Verdict  *fidelity.Verdict `json:"verdict"`  // nil if nobody checked
	Writers  []string          `json:"writers"`  // that went on writing at the source after all was stopped
	Former   string            `json:"former,omitempty"`
}

// Run moves the state of the source to the destination. Whatever fails, the source goes on as it was, and the destination
// gets back what it had; errors say so where that failed too. A destination that is another mind gives the kind
// fault.CheckFailed, with a report.
func Run(ctx context.Context, src Source, dst *Peer, o Options) (*Report, error) {
	m := &migration{src: src, dst: dst, o: o, began: time.Now()}
	err := m.run(ctx)
	m.Total = time.Since(m.began)
	if err != nil {
		err = fmt.Errorf("migrate: %w", errors.Join(err, m.back()))
		return &m.Report, err
	}
	return &m.Report, nil
}

type migration struct {
	Report
	src      Source
	dst      *Peer
	o        Options
	began    time.Time
	stopped  bool // the source
	switched bool // the destination
	baseline []byte
}

func (m *migration) run(ctx context.Context) error {
	if err := m.greet(ctx); err != nil {
		return err
	}
	if err := m.record(ctx); err != nil {
		return err
	}
	if _, err := m.pass(ctx, "bulk"); err != nil {
		return err
	}
	halt := time.Now()
	m.step("stop", m.From)
	m.stopped = true
	if err := m.src.do(ctx, "stop"); err != nil {
		return err
	}
	sent := m.Sent
	writers, err := m.pass(ctx, "delta")
	if err != nil {
		return err
	}
	m.Delta, m.Writers = m.Sent-sent, writers
	m.switched = true
	for _, do := range []string{"stop", "switch", "start"} {
		m.step(do, m.To)
		answer, err := m.dst.ask(ctx, message{Do: do})
		if err != nil {
			return err
		}
		if do == "switch" {
			m.Former = answer.Text
		}
	}
	m.Downtime = time.Since(halt)
	if err := m.check(ctx); err != nil {
		return err
	}
	return m.handOver(ctx)
}

func (m *migration) step(stage, item string) { m.o.Progress.Step(stage, item) }

func (m *migration) greet(ctx context.Context) error {
	m.From, m.To = m.src.String(), m.dst.Name
	return cmp.Or(m.src.do(ctx, "hello"), m.dst.do(ctx, "hello"))
}

// record takes the baseline while the source is in use.
func (m *migration) record(ctx context.Context) error {
	if m.o.NoCheck {
		return nil
	}
	m.step("record", m.From)
	var err error
	if m.baseline, err = m.src.record(ctx); err != nil {
		return fault.Hint(fmt.Errorf("record what %s is: %w", m.From, err), "--no-check moves it without proof that it is the same mind")
	}
	return nil
}

// pass brings the destination's staging folder to what the source is now. Files that changed while they were read make it
// begin again.
func (m *migration) pass(ctx context.Context, stage string) (writers []string, err error) {
	for try := 0; ; try++ {
		writers, err = m.attempt(ctx, stage)
		if err == nil || try == 2 || fault.KindOf(err) != fault.Untrusted {
			return writers, err
		}
		m.o.Progress.Warn(stage, "something changed while it was read; once more")
	}
}

func (m *migration) attempt(ctx context.Context, stage string) ([]string, error) {
	m.step(stage, "reading "+m.From)
	content, err := m.src.Collect(ctx)
	if err != nil {
		return nil, err
	}
	m.Bytes = content.Bytes
	if m.o.Force {
		content.Needs = nil
	}
	plan, err := m.dst.ask(ctx, message{Do: "plan", Needs: content.Needs, data: content.Tree.Encode()})
	if err != nil {
		return nil, err
	}
	list, total, err := parsePlan(plan.data)
	if err != nil {
		return nil, err
	}
	var sent int64
	err = m.src.Fetch(ctx, list, func(p state.Piece, data []byte) error {
		sent += p.Size
		m.Sent += p.Size
		m.o.Progress.Count(stage, m.To, sent, total)
		return m.dst.put(p, data)
	})
	if err != nil {
		return nil, err
	}
	done, err := m.dst.ask(ctx, message{Do: "finish"})
	if err != nil {
		return nil, err
	}
	if stage == "bulk" {
		m.Kept = done.Count
	}
	return content.Writers, nil
}

// check lets the destination prove itself.
func (m *migration) check(ctx context.Context) error {
	if m.baseline == nil {
		if m.o.NoCheck {
			return nil
		}
		m.step("self-test", m.To)
		_, err := m.dst.ask(ctx, message{Do: "selftest"})
		return err
	}
	m.step("check", m.To)
	answer, err := m.dst.ask(ctx, message{Do: "check", data: m.baseline})
	if err != nil {
		return err
	}
	m.Verdict = &fidelity.Verdict{}
	if err := json.Unmarshal(answer.data, m.Verdict); err != nil {
		return fault.Mark(fault.Untrusted, fmt.Errorf("read the verdict: %w", err))
	}
	return m.Verdict.Err()
}

// handOver ends it: the source stays stopped. The destination goes first, for it is the one that must not come back.
func (m *migration) handOver(ctx context.Context) error {
	if _, err := m.dst.ask(ctx, message{Do: "hand"}); err != nil {
		return err
	}
	m.switched = false
	if err := m.src.do(ctx, "hand"); err != nil {
		return fmt.Errorf("%s has the state now, but %s may have started again: %w", m.To, m.From, err)
	}
	m.stopped = false
	if m.o.Keep {
		return nil
	}
	m.Former = ""
	_, err := m.dst.ask(ctx, message{Do: "accept"})
	return err
}

// back undoes what was done, also when ctx has ended. An end that cannot be asked does the same when we hang up.
func (m *migration) back() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if m.switched {
		m.step("undo", m.To)
		if _, e := m.dst.ask(ctx, message{Do: "undo"}); e != nil {
			err = fmt.Errorf("%s: %w", m.To, e)
		}
	}
	if m.stopped {
		m.step("start", m.From)
		if e := m.src.do(ctx, "start"); e != nil {
			err = errors.Join(err, fmt.Errorf("%s did not start again: %w", m.From, e))
		}
	}
	return err
}
