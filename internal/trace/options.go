package trace

import "time"

// Sync says when a line is put on the device.
type Sync int

const (
	SyncInterval Sync = iota // at most Options.SyncEvery after it was written
	SyncAlways               // before Append returns
	SyncNever                // when the kernel does it
)

// Options of a Writer. The zero value is good.
type Options struct {
	Sync      Sync
	SyncEvery time.Duration // 0 is 1 s

	MaxSize int64         // bytes of trace.jsonl before it is rotated; 0 is 64 MiB, negative never
	MaxAge  time.Duration // of its first line; 0 is 24 h, negative never

	KeepFiles int           // rotated sets; 0 is any number
	KeepBytes int64         // of all rotated files; 0 is 1 GiB, negative any number
	KeepAge   time.Duration // since rotation; 0 is for ever

	Redact func(string) string // removes secrets from every text before it is written, see Secrets
	Note   func(string)        // hears of what was repaired, and of trouble that is no error of Append
	Now    func() time.Time    // time.Now, for tests
}

const maxID = 256 // bytes

func (o Options) filled() Options {
	if o.SyncEvery <= 0 {
		o.SyncEvery = time.Second
	}
	if o.MaxSize == 0 {
		o.MaxSize = 64 << 20
	}
	if o.MaxAge == 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 1 << 30
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
