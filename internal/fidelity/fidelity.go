// Package fidelity proves that a mind that moved is the same mind. Record examines a running llama.cpp server and the state
// folder beside it and keeps what it found as a baseline; Check examines another one and compares, on five levels: the
// bytes of the model, the start of its server, the greeting, the style, and the memory. docs/fidelity.md explains them.
package fidelity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Target is a mind to examine. What has no address is not asked.
type Target struct {
	Server   string            // http://host:port of llama.cpp's server
	Chroma   string            // http://host:port of a Chroma server, HTTP API v2
	Root     string            // folder of the state: models/ boot/ memory/
	Modes    map[string]string // system prompts by mode; nil takes those of boot/settings.json below Root
	Hardware string            // what the server computes on, as LocalHardware tells it; "" is unknown
	HTTP     *http.Client      // nil is http.DefaultClient
}

// Options say how to examine.
type Options struct {
	Prefixes  int           // places where the style is compared; 0 is DefaultPrefixes
	Seed      uint32        // of the answers
	Greeting  string        // question of level 3; "" takes the state's own
	Questions []string      // further questions, shown side by side and used for the style; nil takes a few of our own
	Frozen    bool          // Check: a memory that has grown since, with all that was in it untouched, fails as well
	Patience  time.Duration // how long the server may load; 0 is one minute
	Progress  progress.Func
}

// DefaultPrefixes is how many places the style is compared at.
const DefaultPrefixes = 200

const (
	stage           = "fidelity"
	steady          = "serve the model with one slot (--parallel 1) while nobody else talks to it"
	defaultPatience = time.Minute
)

func (o Options) prefixes() int {
	if o.Prefixes <= 0 {
		return DefaultPrefixes
	}
	return min(o.Prefixes, maxCuts)
}

func (t Target) valid() error {
	if t.Server == "" && t.Root == "" && t.Chroma == "" {
		return fault.Mark(fault.Usage, errors.New("fidelity: neither a server nor a state folder is given"))
	}
	return nil
}

// Record examines t and returns what a later Check compares with. It asks the server everything twice: what differs then
// is the noise floor, and a server that does not repeat its own greeting is refused (kind Input), as is a damaged state.
func Record(ctx context.Context, t Target, o Options) (*Baseline, error) {
	if err := t.valid(); err != nil {
		return nil, err
	}
	x, err := newExaminer(t, o)
	if err != nil {
		return nil, err
	}
	if x.broken != nil {
		return nil, x.broken
	}
	b := &Baseline{Schema: schema, Recorded: time.Now().UTC().Truncate(time.Second), Origin: Origin{Hardware: t.Hardware}}
	if t.Server != "" {
		if err := x.recordServer(ctx, b); err != nil {
			return nil, err
		}
	}
	if t.Root != "" {
		o.Progress.Step(stage, "bytes")
		if b.Bytes, err = x.bytes(ctx); err != nil {
			return nil, err
		}
	}
	if t.Root != "" || t.Chroma != "" {
		o.Progress.Step(stage, "memory")
		if b.Memory, err = x.memory(ctx, nil); err != nil {
			return nil, err
		}
	}
	return b, b.validate()
}

func (x *examiner) recordServer(ctx context.Context, b *Baseline) (err error) {
	x.options.Progress.Step(stage, "start")
	if b.Start, b.Origin.Build, err = x.start(ctx, x.settings); err != nil {
		return err
	}
	ask := x.questions()
	x.options.Progress.Step(stage, "greeting")
	if b.Greeting, err = x.greeting(ctx, ask); err != nil {
		return err
	}
	again, err := x.greeting(ctx, ask)
	if err != nil {
		return err
	}
	if l := judgeGreeting(b.Greeting, again, true); l.Status != Pass {
		err := fmt.Errorf("record the greeting: asked twice, the server does not answer the same: %s", l.Reasons[0])
		return fault.Hint(fault.Mark(fault.Input, err), steady)
	}
	x.options.Progress.Step(stage, "style")
	b.Style, err = x.recordStyle(ctx, b.Greeting)
	return err
}

// Check examines t as b was, and compares. What cannot be examined fails, with the reason; an error is returned only where
// there is nothing to judge, and when ctx ends.
func Check(ctx context.Context, t Target, b *Baseline, o Options) (*Verdict, error) {
	if err := errors.Join(t.valid(), b.validate()); err != nil {
		return nil, err
	}
	begin := time.Now()
	x, err := newExaminer(t, o)
	if err != nil {
		return nil, err
	}
	v := newVerdict(b, t)
	for i, level := range []func(context.Context, *Baseline, *Verdict) (Level, error){
		x.checkBytes, x.checkStart, x.checkGreeting, x.checkStyle, x.checkMemory,
	} {
		o.Progress.Step(stage, levelNames[i])
		l, err := level(ctx, b, v)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("check fidelity: %w", context.Cause(ctx))
		}
		if err != nil {
			l = Level{Status: Fail, Reasons: []string{"could not be examined: " + err.Error()}}
		}
		l.Number, l.Name = i+1, levelNames[i]
		v.Levels = append(v.Levels, l)
	}
	v.conclude()
	v.Seconds = float64(time.Since(begin).Milliseconds()) / 1000
	return v, nil
}
