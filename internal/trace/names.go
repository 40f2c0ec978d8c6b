package trace

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// The files in the folder of traces. Rotated ones have a stamp behind "trace".
const (
	JSONFile   = "trace.jsonl"
	TextFile   = "trace.txt"
	LogfmtFile = "trace.structured.log"
	lockFile   = ".trace.lock"
)

// forms are the endings, the one that counts last: what is there in the others alone was never acknowledged.
var forms = [...]string{".txt", ".structured.log", ".jsonl"}

const (
	textForm, logfmtForm, jsonForm = 0, 1, 2

	stampForm = "20060102T150405Z"
)

// stamp orders rotated files; n tells those of one second apart.
type stamp struct {
	at time.Time
	n  int
}

var named = regexp.MustCompile(`^trace-(\d{8}T\d{6}Z)(?:-([1-9]\d{0,8}))?(\.jsonl|\.txt|\.structured\.log)$`)

func (s stamp) name(form string) string {
	if s.n == 0 {
		return "trace-" + s.at.Format(stampForm) + form
	}
	return fmt.Sprintf("trace-%s-%d%s", s.at.Format(stampForm), s.n, form)
}

func (s stamp) compare(t stamp) int { return cmp.Or(s.at.Compare(t.at), cmp.Compare(s.n, t.n)) }

// after returns a stamp for now that is later than s, also where the clock was set back.
func (s stamp) after(now time.Time) stamp {
	next := stamp{at: now.UTC().Truncate(time.Second)}
	if next.compare(s) <= 0 {
		next = stamp{s.at, s.n + 1}
	}
	return next
}

// rotated lists the rotated files, oldest first, with the forms that each has.
func rotated(dir string) (list []stamp, have map[stamp][len(forms)]bool, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	have = map[stamp][len(forms)]bool{}
	for _, name := range names {
		m := named.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		at, err := time.Parse(stampForm, m[1])
		if err != nil {
			continue
		}
		n, _ := strconv.Atoi(m[2])
		s := stamp{at, n}
		set := have[s]
		set[slices.Index(forms[:], m[3])] = true
		have[s] = set
	}
	for s := range have {
		list = append(list, s)
	}
	slices.SortFunc(list, stamp.compare)
	return list, have, nil
}

// sources lists the rotated JSON files by name, oldest first.
func sources(dir string) ([]stamp, error) {
	list, have, err := rotated(dir)
	return slices.DeleteFunc(list, func(s stamp) bool { return !have[s][jsonForm] }), err
}

func openStamp(dir string, s stamp) (*os.File, error) {
	return os.Open(filepath.Join(dir, s.name(forms[jsonForm])))
}
