// Package progress carries step and byte events from long work to whoever shows them.
package progress

// Event is one report from a stage.
type Event struct {
	Stage string // the stage that reports: "resolve", "rootfs", "disk", …
	Item  string // what it works on, for a person; may be empty
	Done  int64  // units done so far
	Total int64  // units in all; 0 when not known
	Bytes bool   // whether Done and Total count bytes rather than steps
	End   bool   // the stage or item is complete
	Warn  bool   // Item is a warning to be shown whatever the display
}

// Func receives events. It may be called from several goroutines at once and must return soon.
// A nil Func drops everything, so callers never test for it.
type Func func(Event)

// Send reports e.
func (f Func) Send(e Event) {
	if f != nil {
		f(e)
	}
}

// Step reports that stage began to work on item.
func (f Func) Step(stage, item string) { f.Send(Event{Stage: stage, Item: item}) }

// Warn reports a condition that a person should know of and that does not stop the work.
func (f Func) Warn(stage, text string) { f.Send(Event{Stage: stage, Item: text, Warn: true}) }

// Count reports done of total bytes of item.
func (f Func) Count(stage, item string, done, total int64) {
	f.Send(Event{Stage: stage, Item: item, Done: done, Total: total, Bytes: true, End: total > 0 && done >= total})
}
