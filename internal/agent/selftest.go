package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agibake/agibake/internal/wire"
)

// Tester runs the self-test. Its fields are set before Run.
type Tester struct {
	*System
	Config  wire.Config
	Problem error             // why the configuration could not be read; nil if it could
	Poll    time.Duration     // between two tries of what is not there yet
	Say     func(text string) // hears of progress; may be called from several goroutines at once

	docker   *dockerClient
	model    *modelServer
	dockerUp chan struct{}   // closed once the engine answers or is given up
	waiting  context.Context // of what waits for containers
	abandon  context.CancelCauseFunc

	mu     sync.Mutex
	answer answer
}

// check is one line of the self-test. Run returns what it found, for a person.
type check struct {
	name  string
	limit time.Duration // its own deadline; 0 means the self-test's
	run   func(*Tester, context.Context) (string, error)
}

// checks are run group by group, those of a group at once: the second group judges what the first has done.
var checks = [][]check{
	{
		{"state", 30 * time.Second, (*Tester).checkState},
		{"clock", 5 * time.Second, (*Tester).checkClock},
		{"docker", 0, (*Tester).checkDocker},
		{"container", 0, (*Tester).checkContainers},
		{"model", 0, (*Tester).checkModel},
		{"gpu", time.Minute, (*Tester).checkGPU},
		{"web", time.Minute, (*Tester).checkWeb},
		{"identity", 10 * time.Second, (*Tester).checkIdentity},
		{"space", 10 * time.Second, (*Tester).checkSpace},
	},
	{
		{"speed", 5 * time.Second, (*Tester).checkSpeed},
		{"units", 30 * time.Second, (*Tester).checkUnits},
	},
}

// skipped is the error of a check that does not apply to this appliance.
type skipped string

func (s skipped) Error() string { return string(s) }

// final is an error that waiting will not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Run runs all checks and returns the verdict. It ends within the configured time, or early when parent ends.
func (t *Tester) Run(parent context.Context) wire.Verdict {
	ctx, cancel := context.WithTimeoutCause(parent, time.Duration(t.Config.SelfTest.TimeoutSeconds)*time.Second,
		fmt.Errorf("not within %d s", t.Config.SelfTest.TimeoutSeconds))
	defer cancel()
	t.waiting, t.abandon = context.WithCancelCause(ctx)
	defer t.abandon(nil)
	t.dockerUp = make(chan struct{})
	t.docker = newDocker(t.path("/run/docker.sock"))
	t.model = &modelServer{url: t.Config.ModelURL}

	var done []wire.Check
	if t.Problem != nil {
		done = append(done, wire.Check{Name: "config", Status: wire.Fail, Detail: oneLine(t.Problem.Error())})
	}
	for _, group := range checks {
		results := make([]wire.Check, len(group))
		var wg sync.WaitGroup
		for i, c := range group {
			wg.Go(func() { results[i] = t.one(parent, ctx, c) })
		}
		wg.Wait()
		done = append(done, results...)
	}
	return t.verdict(done)
}

// one runs one check. One with a limit of its own is not denied its turn because another used up the test's time.
func (t *Tester) one(parent, ctx context.Context, c check) wire.Check {
	if c.limit != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(parent, c.limit, fmt.Errorf("not within %s", c.limit))
		defer cancel()
	}
	begin := time.Now()
	detail, err := c.run(t, ctx)
	r := wire.Check{Name: c.name, Status: wire.Pass, Detail: detail, Seconds: round(time.Since(begin).Seconds(), 1000)}
	var skip skipped
	switch required := slices.Contains(t.Config.SelfTest.Require, c.name); {
	case errors.As(err, &skip) && !required:
		r.Status, r.Detail = wire.Skip, err.Error()
	case err != nil && required:
		r.Status, r.Detail = wire.Fail, oneLine(err.Error())
	case err != nil:
		r.Status, r.Detail = wire.Warn, oneLine(err.Error())
	}
	return r
}

func (t *Tester) verdict(done []wire.Check) wire.Verdict {
	v := wire.Verdict{
		Schema: wire.VerdictSchema, Pass: true, Time: time.Now().UTC().Truncate(time.Second), Uptime: t.uptime(),
		Appliance: t.Config.Name, Version: t.Config.Version, LockDigest: t.Config.LockDigest,
		BootID: t.word("/proc/sys/kernel/random/boot_id"), MachineID: t.word("/etc/machine-id"), Firmware: t.firmware(),
		Checks: done,
	}
	if a := t.answer; a.text != "" {
		v.Question, v.Answer, v.Tokens, v.Rate = t.question(), a.text, a.tokens, round(a.rate, 100)
	}
	for _, c := range done {
		v.Pass = v.Pass && c.Status != wire.Fail
	}
	return v
}

// until tries f until it succeeds, fails for good, or ctx ends; then it returns f's last error and why it gave up.
func (t *Tester) until(ctx context.Context, every time.Duration, f func(context.Context) (string, error)) (string, error) {
	var last error
	for {
		detail, err := f(ctx)
		if err == nil || errors.As(err, new(final)) || errors.As(err, new(skipped)) {
			return detail, err
		}
		if ctx.Err() == nil || last == nil {
			last = err // not "context canceled", which says nothing
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", context.Cause(ctx), last)
		case <-time.After(every):
		}
	}
}

func (t *Tester) say(format string, args ...any) {
	if t.Say != nil {
		t.Say(fmt.Sprintf(format, args...))
	}
}

// uptime is the time in seconds since the kernel started.
func (s *System) uptime() float64 {
	first, _, _ := strings.Cut(s.word("/proc/uptime"), " ")
	seconds, _ := strconv.ParseFloat(first, 64)
	return seconds
}

func round(x, steps float64) float64 { return float64(int64(x*steps+0.5)) / steps }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Line is the console's line of a verdict: one line, whatever the appliance's name or the faults contain.
func Line(v wire.Verdict) string {
	word, faults := "PASS", []string{}
	if !v.Pass {
		word = "FAIL"
	}
	for _, c := range v.Checks {
		if c.Status == wire.Fail {
			faults = append(faults, c.Name+": "+c.Detail)
		}
	}
	line := fmt.Sprintf("%s %s %s %s uptime=%.1fs", wire.VerdictMark, word, v.Appliance, v.Version, v.Uptime)
	if v.Rate > 0 {
		line += fmt.Sprintf(" tokens/s=%.1f", v.Rate)
	}
	if len(faults) > 0 {
		line += " " + strings.Join(faults, "; ")
	}
	return oneLine(line)
}
