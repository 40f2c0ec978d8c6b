package main

import (
	"math"
	"math/rand/v2"
)

// config is the shape of the transformer.
type config struct{ vocab, dim, layers, heads, ff, context int }

const (
	ropeBase = 10000
	normEps  = 1e-5
)

// weights names the parts of one flat slice, so that gradients and AdamW's moments have the same shape.
// Matrices are stored by rows of outputs, as in GGUF.
type weights struct {
	flat              []float32
	embed, norm, head []float32
	layers            []layer
}

type layer struct {
	attnNorm, q, k, v, o    []float32
	ffnNorm, gate, up, down []float32
}

// tensor is one named part and its GGUF shape (innermost first).
type tensor struct {
	name  string
	shape []int
	data  []float32
}

func newWeights(c config) *weights {
	matrix, ff := c.dim*c.dim, c.dim*c.ff
	size := 2*c.vocab*c.dim + c.dim + c.layers*(2*c.dim+4*matrix+3*ff)
	w := &weights{flat: make([]float32, size)}
	rest := w.flat
	take := func(n int) []float32 {
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	w.embed, w.norm, w.head = take(c.vocab*c.dim), take(c.dim), take(c.vocab*c.dim)
	for range c.layers {
		w.layers = append(w.layers, layer{
			attnNorm: take(c.dim), q: take(matrix), k: take(matrix), v: take(matrix), o: take(matrix),
			ffnNorm: take(c.dim), gate: take(ff), up: take(ff), down: take(ff),
		})
	}
	return w
}

// seed sets small random matrices and norms of one.
func (w *weights) seed(c config, r *rand.Rand) {
	fill := func(part []float32, deviation float32) {
		width := deviation * float32(math.Sqrt(3))
		for i := range part {
			part[i] = float32((2*r.Float32() - 1) * width)
		}
	}
	in, ff := 1/sqrt(float32(c.dim)), 1/sqrt(float32(c.ff))
	depth := 1 / sqrt(float32(2*c.layers))
	fill(w.embed, 0.5)
	fill(w.head, in)
	for i := range w.norm {
		w.norm[i] = 1
	}
	for _, l := range w.layers {
		for i := range l.attnNorm {
			l.attnNorm[i], l.ffnNorm[i] = 1, 1
		}
		fill(l.q, in)
		fill(l.k, in)
		fill(l.v, in)
		fill(l.o, in*depth)
		fill(l.gate, in)
		fill(l.up, in)
		fill(l.down, ff*depth)
	}
}

// batch is several sequences end to end. Sequence s is tokens[start[s]:start[s+1]]; target is -1 where nothing is learnt.
type batch struct{ tokens, target, start []int }

func (b *batch) append(tokens, target []int) {
	if len(b.start) == 0 {
		b.start = []int{0}
	}
	b.tokens, b.target = append(b.tokens, tokens...), append(b.target, target...)
	b.start = append(b.start, len(b.tokens))
}

// trace keeps what one layer computed, for the way back.
type trace struct {
	x, h1, inv1      []float32 // input, normalised input, 1/rms by row
	q, k, v, p, att  []float32 // p: attention weights, by sequence, head, row
	x2, h2, inv2     []float32
	gate, up, hidden []float32
}

// run is one pass over a batch.
type run struct {
	c                    config
	w                    *weights
	b                    *batch
	layers               []trace
	rows                 []int // positions with a target
	last, picked, lastH  []float32
	lastInv, probability []float32
	cos, sin             []float32
}

// forward computes the probabilities of the next token at each position with a target.
func forward(c config, w *weights, b *batch, cos, sin []float32) *run {
	r := &run{c: c, w: w, b: b, cos: cos, sin: sin}
	n, d := len(b.tokens), c.dim
	x := make([]float32, n*d)
	for i, t := range b.tokens {
		copy(x[i*d:(i+1)*d], w.embed[t*d:(t+1)*d])
	}
	for i := range w.layers {
		x = r.forwardLayer(&w.layers[i], x, n)
	}
	r.last = x
	for i, t := range b.target {
		if t >= 0 {
			r.rows = append(r.rows, i)
			r.picked = append(r.picked, x[i*d:(i+1)*d]...)
		}
	}
	m := len(r.rows)
	r.lastH, r.lastInv = rmsNorm(r.picked, w.norm, m, d)
	r.probability = make([]float32, m*c.vocab)
	mulNT(r.probability, r.lastH, w.head, m, c.vocab, d, false)
	for i := range m {
		softmax(r.probability[i*c.vocab : (i+1)*c.vocab])
	}
	return r
}

func (r *run) forwardLayer(l *layer, x []float32, n int) []float32 {
	d, ff := r.c.dim, r.c.ff
	t := trace{x: x}
	t.h1, t.inv1 = rmsNorm(x, l.attnNorm, n, d)
	project := func(in, w []float32, outs, ins int) []float32 {
		y := make([]float32, n*outs)
		mulNT(y, in, w, n, outs, ins, false)
		return y
	}
	t.q, t.k, t.v = project(t.h1, l.q, d, d), project(t.h1, l.k, d, d), project(t.h1, l.v, d, d)
	r.rotate(t.q, 1)
	r.rotate(t.k, 1)
	r.attend(&t, n)
	t.x2 = project(t.att, l.o, d, d)
	axpy(t.x2, 1, x)
	t.h2, t.inv2 = rmsNorm(t.x2, l.ffnNorm, n, d)
	t.gate, t.up = project(t.h2, l.gate, ff, d), project(t.h2, l.up, ff, d)
	t.hidden = make([]float32, n*ff)
	for i, g := range t.gate {
		t.hidden[i] = float32(g*sigmoid(g)) * t.up[i]
	}
	out := project(t.hidden, l.down, d, ff)
	axpy(out, 1, t.x2)
	r.layers = append(r.layers, t)
	return out
}

// rmsNorm scales each row to a root mean square of one, then by gain.
func rmsNorm(x, gain []float32, n, d int) (y, inv []float32) {
	y, inv = make([]float32, n*d), make([]float32, n)
	for i := range n {
		row := x[i*d : (i+1)*d]
		inv[i] = 1 / sqrt(dot(row, row)/float32(d)+normEps)
		for j, v := range row {
			y[i*d+j] = float32(v*inv[i]) * gain[j]
		}
	}
	return y, inv
}

// ropeTable holds cosines and sines of position × frequency.
func ropeTable(c config) (cos, sin []float32) {
	half := c.dim / c.heads / 2
	for pos := range c.context {
		for i := range half {
			angle := float64(pos) * math.Pow(ropeBase, -float64(i)/float64(half))
			cos, sin = append(cos, float32(math.Cos(angle))), append(sin, float32(math.Sin(angle)))
		}
	}
	return cos, sin
}

// rotate turns neighbouring pairs by their position (llama.cpp's NORM rope); direction -1 turns back.
func (r *run) rotate(x []float32, direction float32) {
	d, size := r.c.dim, r.c.dim/r.c.heads
	half := size / 2
	for s := 1; s < len(r.b.start); s++ {
		for i := r.b.start[s-1]; i < r.b.start[s]; i++ {
			pos := i - r.b.start[s-1]
			for j := 0; j < d; j += 2 {
				at := pos*half + j%size/2
				cos, sin := r.cos[at], r.sin[at]*direction
				a, b := x[i*d+j], x[i*d+j+1]
				x[i*d+j] = float32(a*cos) - float32(b*sin)
				x[i*d+j+1] = float32(a*sin) + float32(b*cos)
			}
		}
	}
}

// attend is causal attention, each sequence by itself.
func (r *run) attend(t *trace, n int) {
	d, size := r.c.dim, r.c.dim/r.c.heads
	scale := 1 / sqrt(float32(size))
	t.att = make([]float32, n*d)
	for s := 1; s < len(r.b.start); s++ {
		from, to := r.b.start[s-1], r.b.start[s]
		for h := 0; h < d; h += size {
			for i := from; i < to; i++ {
				q := t.q[i*d+h : i*d+h+size]
				begin := len(t.p)
				for j := from; j <= i; j++ {
					t.p = append(t.p, float32(dot(q, t.k[j*d+h:j*d+h+size])*scale))
				}
				p := t.p[begin:]
				softmax(p)
				out := t.att[i*d+h : i*d+h+size]
				for j, a := range p {
					axpy(out, a, t.v[(from+j)*d+h:(from+j)*d+h+size])
				}
			}
		}
	}
}
