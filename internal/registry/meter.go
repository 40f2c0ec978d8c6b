package registry

import (
	"sync"

	"github.com/agibake/agibake/internal/progress"
)

const tellStep = 1 << 20 // bytes between two reports

// meter counts the bytes of a whole that are done and reports them, but not every few.
type meter struct {
	p           progress.Func
	stage, item string
	total       int64

	mu         sync.Mutex
	done, told int64
}

// add counts n more bytes; n is negative where something starts anew.
func (m *meter) add(n int64) {
	m.mu.Lock()
	m.done += n
	done := m.done
	far := max(done-m.told, m.told-done) >= tellStep
	tell := m.told == 0 || done == m.total || far
	if tell {
		m.told = done
	}
	m.mu.Unlock()
	if tell {
		m.p.Count(m.stage, m.item, done, m.total)
	}
}
