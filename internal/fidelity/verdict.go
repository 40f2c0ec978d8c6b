package fidelity

import (
	"fmt"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// Status is what a level found.
type Status string

// The three ends of a level.
const (
	Pass     Status = "pass"
	Fail     Status = "fail"
	NotAsked Status = "not asked"
)

var levelNames = [...]string{"bytes", "start", "greeting", "style", "memory"}

// Level is one level's part of the verdict.
type Level struct {
	Number  int      `json:"level"`
	Name    string   `json:"name"`
	Status  Status   `json:"status"`
	Reasons []string `json:"reasons"` // why it failed, or what was found
	Notes   []string `json:"notes,omitempty"`
	Figures *Figures `json:"figures,omitempty"` // of the style
}

// Figures are what the style's verdict rests on.
type Figures struct {
	Places    int     `json:"places"`
	KL        float64 `json:"kl"`         // mean truncated Kullback–Leibler divergence in nats
	Limit     float64 `json:"kl_limit"`   // of it; 0 where the probabilities must be equal
	Floor     float64 `json:"kl_floor"`   // the source against itself
	Agreement float64 `json:"top1"`       // part of the places with the same likeliest token
	Worst     float64 `json:"kl_largest"` // of one place
	Exact     bool    `json:"exact"`      // all probabilities are equal
}

func notAsked(why string) Level { return Level{Status: NotAsked, Reasons: []string{why}} }

// fail adds a reason to fail. The first one drops what spoke for passing.
func (l *Level) fail(format string, args ...any) {
	if l.Status != Fail {
		l.Status, l.Reasons = Fail, nil
	}
	l.Reasons = append(l.Reasons, fmt.Sprintf(format, args...))
}

func (l *Level) note(format string, args ...any) {
	l.Notes = append(l.Notes, fmt.Sprintf(format, args...))
}

// first puts the sentence for a level that passed before any other.
func (l *Level) first(format string, args ...any) {
	l.Reasons = append([]string{fmt.Sprintf(format, args...)}, l.Reasons...)
}

// Pair is one question with the answers of both sides.
type Pair struct {
	Mode     string `json:"mode,omitempty"`
	Question string `json:"question"`
	Was      string `json:"was"`
	Is       string `json:"is"`
	Same     bool   `json:"same"`   // token by token
	Judged   bool   `json:"judged"` // whether level 3 rests on it
}

// Verdict says whether a mind is the one of the baseline.
type Verdict struct {
	Schema   string    `json:"schema"`
	Same     bool      `json:"same"`     // nothing failed, and something was asked
	Complete bool      `json:"complete"` // all five levels were asked
	Summary  string    `json:"summary"`
	Recorded time.Time `json:"recorded"` // when the baseline was
	Checked  time.Time `json:"checked"`
	Was      Origin    `json:"was"`
	Is       Origin    `json:"is"`
	Levels   []Level   `json:"levels"` // five
	Answers  []Pair    `json:"answers"`
	Seconds  float64   `json:"seconds"`
}

func newVerdict(b *Baseline, t Target) *Verdict {
	return &Verdict{Schema: "agibake.fidelity.verdict/v1", Recorded: b.Recorded, Checked: time.Now().UTC().Truncate(time.Second),
		Was: b.Origin, Is: Origin{Hardware: t.Hardware}, Answers: []Pair{}}
}

func (v *Verdict) conclude() {
	by := map[Status][]string{}
	for _, l := range v.Levels {
		by[l.Status] = append(by[l.Status], l.Name)
	}
	v.Complete = len(by[NotAsked]) == 0
	v.Same = len(by[Fail]) == 0 && len(by[Pass]) > 0
	switch missing := strings.Join(by[NotAsked], ", "); {
	case len(by[Fail]) > 0:
		v.Summary = "Not the same mind: " + strings.Join(by[Fail], ", ") + " failed."
	case !v.Same:
		v.Summary = "Nothing was asked, so nothing is known."
	case v.Complete:
		v.Summary = "The same mind, on all five levels."
	default:
		v.Summary = "The same mind as far as it was asked. Not asked: " + missing + "."
	}
}

// Err is nil for the same mind, and else an error of kind CheckFailed with the first reason of every failed level.
func (v *Verdict) Err() error {
	if v.Same {
		return nil
	}
	reasons := []string{}
	for _, l := range v.Levels {
		if l.Status == Fail {
			reasons = append(reasons, l.Name+": "+l.Reasons[0])
		}
	}
	if len(reasons) == 0 {
		reasons = append(reasons, "nothing was asked")
	}
	return fault.Mark(fault.CheckFailed, fmt.Errorf("fidelity check: not shown to be the same mind: %s", strings.Join(reasons, "; ")))
}
