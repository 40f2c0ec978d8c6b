package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
)

// The schedule. shards is a constant, not the number of processors, so that sums are always taken in the same order.
const (
	shards      = 8
	warmup      = 60
	peakRate    = 3e-3
	weightDecay = 0.05
	beta1       = 0.9
	beta2       = 0.98
)

type trainer struct {
	c                     config
	w, back, first, other *weights // weights, their transposes, AdamW's moments
	grads                 [shards]*weights
	losses                [shards]float64
	cos, sin              []float32
}

func newTrainer(c config, r *rand.Rand) *trainer {
	t := &trainer{c: c, w: newWeights(c), back: newWeights(c), first: newWeights(c), other: newWeights(c)}
	t.w.seed(c, r)
	for i := range t.grads {
		t.grads[i] = newWeights(c)
	}
	t.cos, t.sin = ropeTable(c)
	return t
}

// train runs steps steps of perStep exchanges each and writes the loss now and then.
func (t *trainer) train(data *corpus, tok *tokenizer, r *rand.Rand, steps, perStep int, log io.Writer) {
	average := 0.0
	for step := range steps {
		batches, total := drawBatches(data, tok, r, perStep, t.c.context)
		t.w.transposed(t.back, t.c)
		t.gradients(batches, total)
		loss := 0.0
		for _, l := range t.losses {
			loss += l
		}
		average += loss / float64(total)
		t.update(step, steps)
		if (step+1)%50 == 0 {
			fmt.Fprintf(log, "step %d of %d: loss %.4f\n", step+1, steps, average/50)
			average = 0
		}
	}
}

// drawBatches cuts random exchanges into shards batches and counts the targets of all.
func drawBatches(data *corpus, tok *tokenizer, r *rand.Rand, perStep, context int) ([]batch, int) {
	batches, total := make([]batch, shards), 0
	for i := range perStep {
		s := data.draw(r)
		tokens, target := lesson(tok, s)
		if len(tokens) > context {
			continue
		}
		batches[i%shards].append(tokens, target)
		for _, t := range target {
			if t >= 0 {
				total++
			}
		}
	}
	return batches, total
}

// lesson is an exchange as tokens and the tokens to predict: the answer and its end, nothing of the prompt.
func lesson(tok *tokenizer, s sample) (tokens, target []int) {
	tokens = tok.prompt(s.system, s.question)
	for range len(tokens) - 1 {
		target = append(target, -1)
	}
	answer := append(tok.encode(s.answer), tokEOS)
	return append(tokens, answer[:len(answer)-1]...), append(target, answer...)
}

func (t *trainer) gradients(batches []batch, total int) {
	var next atomic.Int32
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), shards) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < shards; i = int(next.Add(1)) - 1 {
				clear(t.grads[i].flat)
				t.losses[i] = 0
				if len(batches[i].tokens) == 0 {
					continue
				}
				t.losses[i] = forward(t.c, t.w, &batches[i], t.cos, t.sin).backward(t.grads[i], t.back, total)
			}
		})
	}
	wait.Wait()
	sum := t.grads[0].flat
	for _, g := range t.grads[1:] {
		axpy(sum, 1, g.flat)
	}
}

// update is one step of AdamW (Loshchilov and Hutter) with gradients clipped to norm one and a cosine schedule.
func (t *trainer) update(step, steps int) {
	g := t.grads[0].flat
	norm := 0.0
	for _, v := range g {
		norm += float64(v) * float64(v)
	}
	clip := float32(1 / max(1, math.Sqrt(norm)))
	rate := peakRate * min(1, float64(step+1)/warmup) * (0.52 + 0.48*math.Cos(math.Pi*float64(step)/float64(steps)))
	fix1, fix2 := 1-math.Pow(beta1, float64(step+1)), 1-math.Pow(beta2, float64(step+1))
	lr, s2 := float32(rate/fix1), float32(1/fix2)
	shrink := float32(1 - rate*weightDecay)
	w, m, v := t.w.flat, t.first.flat, t.other.flat
	for i, x := range g {
		x = float32(x * clip)
		m[i] = float32(beta1*m[i]) + float32((1-beta1)*x)
		v[i] = float32(beta2*v[i]) + float32((1-beta2)*float32(x*x))
		w[i] = float32(w[i]*shrink) - float32(lr*m[i])/(sqrt(float32(v[i]*s2))+1e-8)
	}
}

// ask is the most likely token after each of the lesson's positions, given the right ones before. It equals the
// lesson's answer exactly when greedy decoding would give that answer.
func (t *trainer) ask(tok *tokenizer, s sample) (got []int, exact bool, margin float32) {
	var b batch
	b.append(lesson(tok, s))
	r := forward(t.c, t.w, &b, t.cos, t.sin)
	exact, margin = true, 1
	for i, at := range r.rows {
		row := r.probability[i*t.c.vocab : (i+1)*t.c.vocab]
		best, second := 0, float32(0)
		for j, p := range row {
			if p > row[best] {
				best = j
			}
		}
		for j, p := range row {
			if j != best {
				second = max(second, p)
			}
		}
		exact = exact && best == b.target[at]
		margin = min(margin, row[best]-second)
		got = append(got, best)
	}
	return got, exact, margin
}
