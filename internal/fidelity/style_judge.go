package fidelity

import (
	"context"
	"math"
	"slices"
)

// Thresholds where equal probabilities cannot be had: another build, other hardware, or a source that is not exact itself.
const (
	floorFactor   = 3    // times the noise floor
	leastKL       = 0.01 // nats: what other kernels add; a coarser quantisation is well above it
	leastAgreeing = 0.98
)

func (x *examiner) checkStyle(ctx context.Context, b *Baseline, v *Verdict) (Level, error) {
	if l := x.unasked(b.Style == nil); l != nil {
		return *l, nil
	}
	is, err := x.forced(ctx, b.Style)
	if err != nil {
		return Level{}, err
	}
	return judgeStyle(b.Style, is, v.Was.like(v.Is)), nil
}

// judgeStyle wants equal probabilities where alike says same build and hardware and the source was exact with itself.
func judgeStyle(was *Style, is [][][]Choice, alike bool) Level {
	f := compare(was.Passages, is)
	f.Floor = was.Floor.KL
	f.Limit = max(floorFactor*was.Floor.KL, leastKL)
	mustBeExact := alike && was.Floor.Exact
	if mustBeExact {
		f.Limit = 0
	}
	l := Level{Status: Pass, Figures: &f}
	where := plural(f.Places, "place")
	switch {
	case f.Exact:
		l.first("the same probabilities to the last digit at %s", where)
	case mustBeExact:
		l.fail("on the same build and hardware the probabilities must be equal at all %s: mean KL %.2g, largest %.2g, top-1 %.1f %%", where, f.KL, f.Worst, 100*f.Agreement)
	default:
		if f.KL > f.Limit {
			l.fail("it thinks differently at %s: mean KL %.4f, at most %.4f is noise", where, f.KL, f.Limit)
		}
		if f.Agreement < leastAgreeing {
			l.fail("the likeliest next word is the same at %.1f %% of %s, at least %.0f %% is wanted", 100*f.Agreement, where, 100*leastAgreeing)
		}
		if l.Status == Pass {
			l.first("mean KL %.2g at %s (at most %.2g), the same likeliest word at %.1f %%", f.KL, where, f.Limit, 100*f.Agreement)
		}
	}
	return l
}

// compare measures is against the recorded choices.
func compare(was []Passage, is [][][]Choice) Figures {
	f := Figures{Exact: true}
	sum, same := 0.0, 0
	for i, p := range was {
		for j, old := range p.Next {
			now := is[i][j]
			kl := divergence(old, now)
			sum += kl
			f.Places++
			f.Worst = max(f.Worst, kl)
			if old[0].ID == now[0].ID {
				same++
			}
			f.Exact = f.Exact && slices.Equal(old, now)
		}
	}
	f.KL, f.Agreement = sum/float64(f.Places), float64(same)/float64(f.Places)
	return f
}

// divergence is the Kullback–Leibler divergence in nats of two distributions over p's tokens and one more for all others.
// A token that q does not list gets an equal part of what q leaves, and no more than q's last one has. Lumping tokens
// together makes no divergence larger (data processing inequality).
func divergence(p, q []Choice) float64 {
	if slices.Equal(p, q) {
		return 0
	}
	const least = 1e-9 // of what is left, after rounding
	known, left := map[int]float64{}, 1.0
	for _, c := range q {
		known[c.ID] = math.Exp(c.LogProb)
		left -= math.Exp(c.LogProb)
	}
	missing := 0
	for _, c := range p {
		if _, ok := known[c.ID]; !ok {
			missing++
		}
	}
	unknown := min(math.Exp(q[len(q)-1].LogProb), max(left, least)/float64(max(missing, 1)))
	sum, restP, restQ := 0.0, 1.0, 1.0
	for _, c := range p {
		at, ok := known[c.ID]
		if !ok {
			at = unknown
		}
		at = max(at, math.SmallestNonzeroFloat64)
		sum += math.Exp(c.LogProb) * (c.LogProb - math.Log(at))
		restP -= math.Exp(c.LogProb)
		restQ -= at
	}
	restP, restQ = max(restP, least), max(restQ, least)
	return max(0, sum+restP*math.Log(restP/restQ))
}
