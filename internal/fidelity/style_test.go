package fidelity

import (
	"math"
	"slices"
	"testing"
)

// choices makes a distribution's top from pairs of token and probability.
func choices(pairs ...float64) (list []Choice) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, Choice{int(pairs[i]), math.Log(pairs[i+1])})
	}
	return list
}

func TestDivergence(t *testing.T) {
	p := choices(1, .5, 2, .3, 3, .1)
	for _, c := range []struct {
		name      string
		p, q      []Choice
		low, high float64
	}{
		{"equal", p, slices.Clone(p), 0, 0},
		{"known by hand", choices(1, .5, 2, .5), choices(1, .9, 2, .1), .51082, .51083},
		{"the other way round", choices(1, .9, 2, .1), choices(1, .5, 2, .5), .36806, .36807},
		{"with a rest", choices(1, .5), choices(1, .25), .1438, .1439}, // ½ ln 2 + ½ ln ⅔
		{"other order", choices(1, .5, 2, .4), choices(2, .5, 1, .4), .0223, .0224},
		{"one token is not listed", p, choices(1, .5, 2, .3, 4, .1), 0, 1e-9}, // the unlisted may be as likely as before
		{"one token cannot be there", choices(1, .5, 2, .3, 3, .2), choices(1, .5, 2, .3, 4, .2), 1, math.Inf(1)},
		{"nothing in common", choices(1, .9, 2, .1), choices(3, .9, 4, .1), 2, math.Inf(1)},
		{"all certain, and wrong", choices(1, 1), choices(2, 1), 10, math.Inf(1)},
		{"a hair", choices(1, .5, 2, .3), choices(1, .5000001, 2, .2999999), 0, 1e-12},
	} {
		if d := divergence(c.p, c.q); d < c.low || d > c.high || math.IsNaN(d) {
			t.Errorf("%s: %v is not from %v to %v", c.name, d, c.low, c.high)
		}
	}
}

// TestThresholds: exact where that can be wanted, and the noise floor else.
func TestThresholds(t *testing.T) {
	const places = 100
	style := func(floor Floor) *Style {
		s := &Style{Top: 2, Floor: floor, Passages: []Passage{{}}}
		for range places {
			s.Passages[0].Next = append(s.Passages[0].Next, choices(1, .6, 2, .3))
		}
		return s
	}
	exact, noisy := Floor{0, 1, true}, Floor{.02, .99, false}
	is := func(changed int, to []Choice) [][][]Choice {
		all := [][][]Choice{slices.Clone(style(exact).Passages[0].Next)}
		for i := range changed {
			all[0][i] = to
		}
		return all
	}
	near, far, swapped := choices(1, .6001, 2, .3), choices(1, .9, 2, .05), choices(2, .45, 1, .449)
	for _, c := range []struct {
		name  string
		floor Floor
		alike bool
		is    [][][]Choice
		want  Status
	}{
		{"equal", exact, true, is(0, nil), Pass},
		{"a last digit, alike", exact, true, is(1, near), Fail},
		{"a last digit, elsewhere", exact, false, is(places, near), Pass},
		{"a last digit, alike and noisy", noisy, true, is(places, near), Pass},
		{"far", exact, false, is(places, far), Fail},
		{"a few far", exact, false, is(2, far), Pass},
		{"2 swapped", exact, false, is(2, swapped), Pass},
		{"3 swapped", exact, false, is(3, swapped), Fail},
		{"beyond the least, within the floor", noisy, false, is(16, far), Pass},
		{"beyond the floor", noisy, false, is(17, far), Fail},
	} {
		l := judgeStyle(style(c.floor), c.is, c.alike)
		if l.Status != c.want {
			t.Errorf("%s: %s, %v, %+v", c.name, l.Status, l.Reasons, *l.Figures)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, want := range []int{1, 5, 7, 30, 100} {
		var list []Passage
		for n := range 6 {
			var p Passage
			for at := range 5 {
				p.Cuts = append(p.Cuts, n+at+1)
			}
			list = append(list, p)
		}
		spread(list, want)
		kept, used := 0, 0
		for _, p := range list {
			if kept += len(p.Cuts); len(p.Cuts) > 0 {
				used++
			}
		}
		if kept != min(want, 30) || used != min(want, 6) {
			t.Errorf("%d places of %d, in %d passages", kept, want, used)
		}
	}
}
