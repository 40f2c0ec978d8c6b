// Package live takes a consistent copy of data that is in use: it stops whatever writes below a folder for a moment,
// copies what may change, lets all go on, and makes clean files of the copies. What was stopped goes on whatever happens
// to this process.
package live

import (
	"errors"
	"io/fs"
	"time"

	"github.com/agibake/agibake/internal/progress"
)

// Options steer Freeze and Stage.
type Options struct {
	// Docker is the docker program. "" takes the one in PATH if its engine is on this machine and answers; "none" leaves
	// containers alone. The engine is the one that the program itself would choose (DOCKER_HOST, contexts).
	Docker string
	// Deadline bounds how long things stand still; 0 is 30 s. Then they go on, and the copy fails.
	Deadline time.Duration
	Progress progress.Func
}

const (
	defaultDeadline = 30 * time.Second
	none            = "none"
)

func (o Options) deadline() time.Duration {
	if o.Deadline > 0 {
		return o.Deadline
	}
	return defaultDeadline
}

// Errors that callers may tell apart.
var (
	ErrBusy    = errors.New("the database is busy")
	ErrResumed = errors.New("what was frozen went on too early")
	ErrDamaged = errors.New("the data is damaged")
)

// Kind is what a staged file is.
type Kind string

// The kinds of files.
const (
	Plain  Kind = "plain"  // copied as it was
	JSONL  Kind = "jsonl"  // cut behind its last whole line
	SQLite Kind = "sqlite" // one clean file, without -wal or -journal
	Chroma Kind = "chroma" // part of a Chroma database's folder
)

// File is one staged file.
type File struct {
	Rel     string      // path below the root, with slashes
	Path    string      // where the clean copy lies
	Kind    Kind        //
	Made    bool        // not a copy: an export that Stage wrote
	Size    int64       // bytes of the copy
	Mode    fs.FileMode // of the original
	Records int64       // lines of a jsonl file
	Torn    int64       // bytes behind the last whole line of a jsonl file, left out
}

// Database tells what a Chroma database held.
type Database struct {
	Dir    string // the folder below the root
	Export string // Rel of the logical export, "" if it could not be made
	Counts
}

// Staged is the outcome of Stage.
type Staged struct {
	Files     []File        // by Rel
	Absorbed  []string      // -wal, -shm and -journal files, whose content is in their database's copy: not to be captured
	Gone      []string      // no longer there at the instant, or neither files nor links
	Chroma    []Database    // by Dir
	Paused    []string      // names of containers
	Stopped   []Process     // other processes
	At        time.Time     // the instant
	Frozen    time.Duration // how long things stood still for the copy that was kept
	FrozenAll time.Duration // with the attempts before it
	Attempts  int           // how often things were frozen
	Warnings  []string      // what a person should know
}
