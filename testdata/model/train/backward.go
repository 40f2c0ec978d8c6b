package main

import "math"

// backward adds the gradient of the mean loss to g, where total counts the targets of the whole step, and returns
// the summed loss of this batch.
func (r *run) backward(g *weights, back *weights, total int) float64 {
	d, vocab, m := r.c.dim, r.c.vocab, len(r.rows)
	loss := 0.0
	dl := r.probability
	for i, at := range r.rows {
		t := i*vocab + r.b.target[at]
		loss -= math.Log(float64(max(dl[t], 1e-30)))
		dl[t]--
	}
	for i := range dl {
		dl[i] /= float32(total)
	}
	addOuter(g.head, dl, r.lastH, m, vocab, d)
	dh := make([]float32, m*d)
	mulNT(dh, dl, back.head, m, d, vocab, false)
	dPicked := make([]float32, m*d)
	backNorm(dPicked, g.norm, dh, r.picked, r.w.norm, r.lastInv, m, d)
	dx := make([]float32, len(r.last))
	for i, at := range r.rows {
		copy(dx[at*d:(at+1)*d], dPicked[i*d:(i+1)*d])
	}
	for i := len(r.layers) - 1; i >= 0; i-- {
		dx = r.backLayer(i, g, back, dx)
	}
	for i, t := range r.b.tokens {
		axpy(g.embed[t*d:(t+1)*d], 1, dx[i*d:(i+1)*d])
	}
	return loss
}

// backLayer takes the gradient of a layer's output and returns that of its input. back holds the transposed matrices.
func (r *run) backLayer(at int, g, back *weights, dOut []float32) []float32 {
	t, l, gl, bl := &r.layers[at], &r.w.layers[at], &g.layers[at], &back.layers[at]
	n, d, ff := len(r.b.tokens), r.c.dim, r.c.ff

	addOuter(gl.down, dOut, t.hidden, n, d, ff)
	dHidden := make([]float32, n*ff)
	mulNT(dHidden, dOut, bl.down, n, ff, d, false)
	dGate, dUp := make([]float32, n*ff), make([]float32, n*ff)
	for i, v := range t.gate {
		s := sigmoid(v)
		dUp[i] = float32(dHidden[i] * float32(v*s))
		dGate[i] = float32(dHidden[i]*t.up[i]) * float32(s*(1+float32(v*(1-s))))
	}
	addOuter(gl.gate, dGate, t.h2, n, ff, d)
	addOuter(gl.up, dUp, t.h2, n, ff, d)
	dh := make([]float32, n*d)
	mulNT(dh, dGate, bl.gate, n, d, ff, false)
	mulNT(dh, dUp, bl.up, n, d, ff, true)
	dx2 := append([]float32(nil), dOut...)
	backNorm(dx2, gl.ffnNorm, dh, t.x2, l.ffnNorm, t.inv2, n, d)

	addOuter(gl.o, dx2, t.att, n, d, d)
	dAtt := make([]float32, n*d)
	mulNT(dAtt, dx2, bl.o, n, d, d, false)
	dq, dk, dv := r.backAttend(t, dAtt)
	r.rotate(dq, -1)
	r.rotate(dk, -1)
	addOuter(gl.q, dq, t.h1, n, d, d)
	addOuter(gl.k, dk, t.h1, n, d, d)
	addOuter(gl.v, dv, t.h1, n, d, d)
	mulNT(dh, dq, bl.q, n, d, d, false)
	mulNT(dh, dk, bl.k, n, d, d, true)
	mulNT(dh, dv, bl.v, n, d, d, true)
	backNorm(dx2, gl.attnNorm, dh, t.x, l.attnNorm, t.inv1, n, d)
	return dx2
}

func (r *run) backAttend(t *trace, dAtt []float32) (dq, dk, dv []float32) {
	d, size := r.c.dim, r.c.dim/r.c.heads
	scale := 1 / sqrt(float32(size))
	dq, dk, dv = make([]float32, len(dAtt)), make([]float32, len(dAtt)), make([]float32, len(dAtt))
	dp := make([]float32, r.c.context)
	rest := t.p
	for s := 1; s < len(r.b.start); s++ {
		from, to := r.b.start[s-1], r.b.start[s]
		for h := 0; h < d; h += size {
			for i := from; i < to; i++ {
				p := rest[:i-from+1]
				rest = rest[i-from+1:]
				out := dAtt[i*d+h : i*d+h+size]
				var mean float32
				for j, a := range p {
					at := (from+j)*d + h
					dp[j] = dot(out, t.v[at:at+size])
					mean += float32(dp[j] * a)
					axpy(dv[at:at+size], a, out)
				}
				for j, a := range p {
					at := (from+j)*d + h
					ds := float32(float32(a*(dp[j]-mean)) * scale)
					axpy(dq[i*d+h:i*d+h+size], ds, t.k[at:at+size])
					axpy(dk[at:at+size], ds, t.q[i*d+h:i*d+h+size])
				}
			}
		}
	}
	return dq, dk, dv
}

// backNorm adds the gradient through rmsNorm to dx and dGain.
func backNorm(dx, dGain, dy, x, gain, inv []float32, n, d int) {
	for i := range n {
		row, grad, s := x[i*d:(i+1)*d], dy[i*d:(i+1)*d], inv[i]
		var sum float32
		for j, v := range row {
			dGain[j] += float32(float32(grad[j]*v) * s)
			sum += float32(float32(grad[j]*gain[j]) * v)
		}
		sum *= float32(float32(s*s)*s) / float32(d)
		for j, v := range row {
			dx[i*d+j] += float32(float32(grad[j]*gain[j])*s) - float32(v*sum)
		}
	}
}

// addOuter adds dyᵀ·x to g: the gradient of a matrix of m outputs and k inputs over n rows.
func addOuter(g, dy, x []float32, n, m, k int) {
	dyT, xT := make([]float32, n*m), make([]float32, n*k)
	transpose(dyT, dy, n, m)
	transpose(xT, x, n, k)
	mulNT(g, dyT, xT, m, k, n, true)
}

// transposed fills back with the transposed matrices of w.
func (w *weights) transposed(back *weights, c config) {
	transpose(back.head, w.head, c.vocab, c.dim)
	for i, l := range w.layers {
		b := back.layers[i]
		transpose(b.q, l.q, c.dim, c.dim)
		transpose(b.k, l.k, c.dim, c.dim)
		transpose(b.v, l.v, c.dim, c.dim)
		transpose(b.o, l.o, c.dim, c.dim)
		transpose(b.gate, l.gate, c.ff, c.dim)
		transpose(b.up, l.up, c.ff, c.dim)
		transpose(b.down, l.down, c.dim, c.ff)
	}
}
