package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	stage    = "live" // for progress
	attempts = 6
)

// errNotNow marks an instant at which something could not be copied: another may do.
var errNotNow = errors.New("not a good moment")

// Stage copies files, paths below root that may change, to the same paths below the folder staging, all as they were at one
// instant, and makes the copies clean: SQLite databases by Backup, or as files with Recover when a writer stands still with
// the lock; Chroma databases whole, with a logical export beside the folder; jsonl files up to their last whole
// line. Everything that writes below root stands still meanwhile (Freeze), but not for the cleaning.
//
// If the instant is bad, a lock held or an index half written, things go on for a moment and are frozen again, six times
// at most. On an error staging may hold remains.
func Stage(ctx context.Context, root string, files []string, staging string, o Options) (*Staged, error) {
	p, err := newPlan(root, files, staging)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	if err := p.copyEarly(ctx, o); err != nil {
		return nil, fmt.Errorf("stage %s: %w", root, err)
	}
	var total time.Duration
	for n := 1; ; n++ {
		s, err := p.attempt(ctx, o, n == attempts)
		total += s.Frozen
		if err == nil {
			s.Attempts, s.FrozenAll = n, total
			return s, nil
		}
		if !errors.Is(err, errNotNow) || n == attempts {
			return nil, fmt.Errorf("stage %s: %w", root, err)
		}
		o.Progress.Step(stage, fmt.Sprintf("again, %v", err))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond << n):
		}
	}
}

// copyEarly copies jsonl files, which may be big, before the instant; those that do not change until then need no second copy.
func (p *plan) copyEarly(ctx context.Context, o Options) error {
	for _, rel := range p.jsonl {
		began := time.Now()
		version := p.version(rel, began)
		if version == "" || !p.copyable(rel) {
			continue
		}
		o.Progress.Step(stage, "copying "+rel)
		if err := copyFile(ctx, p.src(rel), p.dst(rel)); err != nil {
			if ctx.Err() != nil {
				return err
			}
			continue // it will be copied at the instant
		}
		p.early[rel] = version
	}
	return nil
}

// version is a text that changes when a file does, or "" if it changed just now: the kernel's clock for files ticks
// slower than files can change.
func (p *plan) version(rel string, now time.Time) string {
	info, err := os.Lstat(p.src(rel))
	if err != nil {
		return ""
	}
	st := info.Sys().(*syscall.Stat_t)
	if now.Sub(time.Unix(st.Ctim.Unix())) < 50*time.Millisecond {
		return ""
	}
	return fmt.Sprint(st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim)
}

// attempt freezes, copies, thaws and cleans. With last set it makes do with what it gets. It returns how long things stood
// still, also with an error.
func (p *plan) attempt(ctx context.Context, o Options, last bool) (*Staged, error) {
	s := &Staged{Absorbed: slices.Clone(p.absorbed)}
	o.Progress.Step(stage, "freezing "+p.root)
	f, err := Freeze(ctx, p.root, o)
	if err != nil {
		return s, err
	}
	p.frozen = f
	s.At, s.Paused, s.Stopped = f.Since, f.Paused, f.Stopped
	copying, cancel := context.WithTimeout(ctx, o.deadline())
	err = p.take(copying, s, last)
	cancel()
	err = errors.Join(err, f.Thaw())
	s.Frozen = f.Held
	if err == nil {
		err = p.clean(ctx, s, last)
		clear(p.early) // cut by now
	}
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Rel, b.Rel) })
	return s, err
}
