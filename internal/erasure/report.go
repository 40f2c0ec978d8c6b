package erasure

import (
	"fmt"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

func (s *set) report() *Report {
	r := &Report{Set: s.set(-1, nil), Missing: s.missing(), Short: s.short, Lost: s.lost}
	if s.end != nil {
		r.Set = s.set(s.end.length, s.end.stream[:])
	}
	for _, p := range s.sources {
		r.Parts = append(r.Parts, PartReport{p.Label, p.number, s.state(p), p.checked, p.bad, p.err})
	}
	return r
}

func (s *set) state(p *part) State {
	switch {
	case p.number == 0:
		return Foreign
	case s.end == nil:
		return Cut
	}
	switch size := p.tailAt(s.end.length) + tailSize; {
	case p.Size < size:
		return Cut
	case p.Size > size || p.bad > 0 || !p.headed || p.tail == nil || p.otherSum:
		return Damaged
	}
	return OK
}

// present returns the numbers, from 0, of the parts that there is a source of.
func (s *set) present() (list []int) {
	for i, copies := range s.copies {
		if len(copies) > 0 {
			list = append(list, i)
		}
	}
	return list
}

// missing returns the numbers, from 1, of the others.
func (s *set) missing() (list []int) {
	for i, copies := range s.copies {
		if len(copies) == 0 {
			list = append(list, i+1)
		}
	}
	return list
}

// tooFew says what there is and what more is needed.
func (s *set) tooFew(what string) error {
	kind := fault.Failed
	var damaged []string
	for _, p := range s.sources {
		if state := s.state(p); state == Damaged || state == Cut {
			kind = fault.Untrusted
			damaged = append(damaged, fmt.Sprintf("%s (part %d, %s)", p.Label, p.number, state))
		}
	}
	var get []string
	if list := s.missing(); len(list) > 0 {
		numbers := strings.Join(strings.Fields(strings.Trim(fmt.Sprint(list), "[]")), ", ")
		what += "; missing: " + numbers
		get = append(get, "of parts "+numbers)
	}
	if damaged != nil {
		what += "; damaged: " + strings.Join(damaged, ", ")
		get = append(get, "other copies of what is damaged")
	}
	err := fmt.Errorf("%s: %w", what, ErrTooFew)
	return fault.Hint(fault.Mark(kind, err), fmt.Sprintf("find %d more %s", s.short, strings.Join(get, " or ")))
}
