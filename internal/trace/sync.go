package trace

import (
	"errors"
	"fmt"
	"time"
)

// syncTo returns when the first n lines are on the device. One fsync serves all who wait: who comes while it runs finds,
// after the next one, that another has done it.
func (w *Writer) syncTo(n uint64) error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	if n <= w.lost {
		return w.lostErr
	}
	if n <= w.synced {
		return nil
	}
	w.mu.Lock()
	upTo, f := w.written, w.out[jsonForm]
	w.mu.Unlock()
	return w.settle(upTo, f.Sync())
}

// settle notes the outcome of an fsync. The kernel tells of a failure once and then forgets the data, so that a later
// success says nothing about these lines.
func (w *Writer) settle(upTo uint64, err error) error {
	if err != nil {
		w.lost, w.lostErr = upTo, fmt.Errorf("the line may not be on the device: %w", err)
		return w.lostErr
	}
	w.synced = upTo
	return nil
}

// syncOthers is for the forms that Open can make again from the JSON lines.
func (w *Writer) syncOthers() (err error) {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	for i, f := range w.out {
		if i != jsonForm {
			err = errors.Join(err, f.Sync())
		}
	}
	return err
}

// tend does what time asks for.
func (w *Writer) tend() {
	tick := time.NewTicker(w.o.SyncEvery)
	defer tick.Stop()
	others, pruned := uint64(0), w.o.Now()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		n := w.written
		w.mu.Unlock()
		if w.o.Sync != SyncNever && n > others {
			if err := errors.Join(w.syncTo(n), w.syncOthers()); err != nil {
				w.o.Note(fmt.Sprintf("sync traces: %v", err))
			}
			others = n
		}
		now := w.o.Now()
		w.syncing.Lock()
		w.mu.Lock()
		w.recheck()
		if w.due(0) {
			w.rotate()
		} else if now.Sub(pruned) >= time.Hour {
			w.prune()
			pruned = now
		}
		w.mu.Unlock()
		w.syncing.Unlock()
	}
}
