package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Thaw resumes what Freeze froze, and nothing else: what was paused or stopped before stays so. It may be called again and
// then returns the same. The error is ErrResumed if something went on before, by the deadline or by another's hand; what
// was copied is then worth nothing.
func (f *Frozen) Thaw() error {
	f.once.Do(func() { f.err = f.thaw() })
	return f.err
}

func (f *Frozen) thaw() error {
	defer f.lock.Close()
	if f.guard == nil {
		return nil
	}
	var early error
	if !f.guard.watching() {
		early = ErrResumed
	}
	for _, p := range f.Stopped {
		if !allHalted(p) {
			early = fmt.Errorf("process %d (%s): %w", p.PID, p.Name, ErrResumed)
		}
	}
	var failed error
	for _, p := range f.Stopped {
		if st, err := statPID(p.PID); err == nil && st.start == p.start {
			if err := syscall.Kill(p.PID, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
				failed = errors.Join(failed, fmt.Errorf("resume process %d (%s): %w", p.PID, p.Name, err))
			}
		}
	}
	if len(f.ids) > 0 {
		failed = errors.Join(failed, f.engine.unpause(context.Background(), f.ids))
	}
	f.Held = time.Since(f.began)
	f.guard.release(failed == nil)
	return errors.Join(early, failed)
}

// lockFolder takes the folder's lock (flock(2)), which its guardian inherits: until that has ended nothing else freezes there.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	for until := time.Now().Add(lockPatience); ; {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(until) {
			d.Close()
			return nil, fmt.Errorf("freeze %s: another capture of it is going on: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			d.Close()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
