package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	maxRounds    = 20               // of looking for new writers
	lockPatience = 45 * time.Second // another freeze takes 30 s at most, and its guardian some seconds more
)

// Frozen is what stands still until Thaw.
type Frozen struct {
	Paused  []string      // names of containers
	Stopped []Process     // other processes
	Since   time.Time     // when all stood still
	Held    time.Duration // from the first pause to the end of Thaw

	began  time.Time
	engine *engine
	ids    []string // of the containers
	guard  *guardian
	lock   *os.File
	once   sync.Once
	err    error
}

// Freeze stops whatever can write below dir: containers with a writable mount in or over it are paused, other processes
// that hold a file below it open for writing get SIGSTOP, as far as this user may. Spared are this process, its ancestors,
// process 1 and the engine. It looks again until no new writer is found.
//
// Before anything stops, a guardian is told of it: a process of its own that resumes everything when this process ends in
// any way, or after o.Deadline. One freeze of a folder at a time; another one waits.
func Freeze(ctx context.Context, dir string, o Options) (_ *Frozen, err error) {
	f, dir, err := begin(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("freeze %s: %w", dir, errors.Join(err, f.Thaw()))
		}
	}()
	boxes, scan, err := f.look(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	docker := ""
	if f.engine != nil {
		docker = f.engine.program
	}
	if f.guard, err = startGuardian(ctx, docker, o.deadline(), f.lock); err != nil {
		return nil, err
	}
	scan.spared[f.guard.pid] = true
	f.began = time.Now()
	if err := f.pause(ctx, boxes); err != nil {
		return nil, err
	}
	if err := f.stopWriters(ctx, scan); err != nil {
		return nil, err
	}
	f.Since = time.Now()
	return f, nil
}

// begin locks a folder, whose path comes back without links.
func begin(ctx context.Context, dir string) (*Frozen, string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, "", fmt.Errorf("freeze: %w", err)
	}
	lock, err := lockFolder(ctx, dir)
	return &Frozen{lock: lock}, dir, err
}

// InUse tells whether Freeze would find something to stop. It waits for another freeze of the folder, whose writers seem
// to be at rest, and stops nothing itself.
func InUse(ctx context.Context, dir string, o Options) (bool, error) {
	f, dir, err := begin(ctx, dir)
	if err != nil {
		return false, err
	}
	defer f.lock.Close()
	boxes, scan, err := f.look(ctx, dir, o)
	if err != nil || len(boxes) > 0 {
		return len(boxes) > 0, err
	}
	writers, err := scan.writers()
	return len(writers) > 0, err
}

// look finds what there is to freeze before anything is, so that things stand still for less long.
func (f *Frozen) look(ctx context.Context, dir string, o Options) ([]box, *scanner, error) {
	scan, err := newScanner(dir)
	if err != nil {
		return nil, nil, err
	}
	if _, err := scan.writers(); err != nil {
		return nil, nil, err
	}
	if f.engine, err = findEngine(ctx, o); err != nil || f.engine == nil {
		return nil, scan, err
	}
	list, err := f.engine.boxes(ctx, dir)
	var running []box
	for _, b := range list {
		scan.boxes = append(scan.boxes, b.ID)
		if !b.State.Paused { // one that is paused already stays so
			running = append(running, b)
		}
	}
	return running, scan, err
}

func (f *Frozen) pause(ctx context.Context, boxes []box) error {
	for _, b := range boxes {
		if err := f.guard.tell("c " + b.ID); err != nil {
			return err
		}
		f.ids, f.Paused = append(f.ids, b.ID), append(f.Paused, b.Name)
	}
	if len(boxes) == 0 {
		return nil
	}
	return f.engine.pause(ctx, f.ids)
}

func (f *Frozen) stopWriters(ctx context.Context, scan *scanner) error {
	for range maxRounds {
		fresh, err := scan.writers()
		if err != nil || len(fresh) == 0 {
			return err
		}
		for _, p := range fresh {
			if err := f.guard.tell(fmt.Sprintf("p %d %s", p.PID, p.start)); err != nil {
				return err
			}
			f.Stopped = append(f.Stopped, p)
			if err := stop(p); err != nil {
				return err
			}
		}
		if err := errors.Join(awaitHalt(fresh), ctx.Err()); err != nil {
			return err
		}
	}
	return errors.New("new writers come up all the time")
}
