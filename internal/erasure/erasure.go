// Package erasure cuts a stream into parts of which any few restore the whole, finds what is missing or damaged in such
// parts, and writes them anew. The format is docs/split.md. It guards against loss and accident: who may change all the
// parts can change the stream, and against that it must be signed or sealed before it is split.
// Memory stays below 32 MiB, however long the stream is.
package erasure

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Errors that callers tell apart.
var (
	// ErrTooFew is in what Join and Repair return when the parts do not suffice. Its kind is fault.Untrusted if one of
	// them is damaged, fault.Failed if others are just not there.
	ErrTooFew = errors.New("too few parts")
	// ErrMixed is in what is returned for parts of several sets (fault.Input).
	ErrMixed = errors.New("the parts belong to different sets")
)

// Options of Split.
type Options struct {
	Parts  int    // 1 to 32
	Needed int    // how many of them restore: 1 to Parts. With Parts 0 as well: any 2 of 3
	Name   string // for a person, up to 255 bytes of UTF-8 without control characters; readable in each part
	// Progress gets the bytes read of the stream, as stage "split".
	Progress progress.Func
}

// Set is what the parts of one stream have in common.
type Set struct {
	ID     string // 32 hex digits, drawn for each Split
	Name   string
	Parts  int
	Needed int
	Length int64  // of the stream, in bytes; -1 if every part is cut off before it says so
	SHA256 string // of the stream, hex; empty where Length is -1
}

// Source is a part, or what may be one.
type Source struct {
	Label string // names it in reports and errors
	R     io.ReaderAt
	Size  int64 // bytes
}

// State is what is wrong with a Source as a whole.
type State string

// The states of a source.
const (
	OK      State = "ok"
	Damaged State = "damaged" // some bytes are not those that were written
	Cut     State = "cut"     // it is shorter than it was; what is there may be damaged too
	Foreign State = "foreign" // no part, or neither its first nor its last bytes can be read
)

// PartReport is what became known of one source.
type PartReport struct {
	Label      string
	Number     int // from 1; 0 if it is foreign
	State      State
	Checked    int64 // stripes looked at: all by Examine, those it needed by Join
	BadStripes int64 // those among them whose shard is damaged or missing here
	Err        error // the first error of reading it, if there was one
}

// Report says what there is of a set and what is not.
type Report struct {
	Set
	Parts   []PartReport // as the sources were given
	Missing []int        // numbers of the parts that none of the sources is
	Short   int          // so many more parts are needed where there is least; 0: all that was looked at can be restored
	Lost    int64        // stripes that these sources cannot restore; Join stops at the first one
}

// header returns the header that all parts have but for their number. A shard of 0 bytes means the largest that fits.
func (o Options) header(shard int) (header, error) {
	if o.Parts == 0 && o.Needed == 0 {
		o.Parts, o.Needed = 3, 2
	}
	if o.Parts < 1 || o.Parts > maxParts || o.Needed < 1 || o.Needed > o.Parts {
		return header{}, fault.Mark(fault.Usage, fmt.Errorf("split into %d parts of which %d are needed: parts are 1 to %d, and 1 to all of them needed", o.Parts, o.Needed, maxParts))
	}
	if !goodName(o.Name) {
		return header{}, fault.Mark(fault.Usage, fmt.Errorf("split: the name %.300q is not up to %d bytes of text on one line", o.Name, maxName))
	}
	if shard == 0 {
		shard = maxShard
	}
	for o.Parts*shard > maxStripe {
		shard /= 2
	}
	return header{parts: o.Parts, needed: o.Needed, shard: shard, name: o.Name}, nil
}

// goodName also keeps a hostile part from steering a terminal.
func goodName(s string) bool {
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func (h header) set(length int64, sum []byte) Set {
	return Set{hex.EncodeToString(h.id[:]), h.name, h.parts, h.needed, length, hex.EncodeToString(sum)}
}
