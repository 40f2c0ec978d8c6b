package main

import "math"

// Every product is converted explicitly: the Go specification (Floating-point operators) then forbids fusing it with
// the sum, so that all machines compute the same bits.

// mulNT computes y = x·wᵀ, or y += x·wᵀ: x is n×k, w is m×k, y is n×m, all by rows.
func mulNT(y, x, w []float32, n, m, k int, add bool) {
	if !add {
		clear(y[:n*m])
	}
	i := 0
	for ; i+4 <= n; i += 4 {
		j := 0
		for ; j+2 <= m; j += 2 {
			tile42(y[i*m+j:], m, x[i*k:(i+4)*k], w[j*k:(j+2)*k], k)
		}
		for ; j < m; j++ {
			for r := i; r < i+4; r++ {
				y[r*m+j] += dot(x[r*k:(r+1)*k], w[j*k:(j+1)*k])
			}
		}
	}
	for ; i < n; i++ {
		for j := range m {
			y[i*m+j] += dot(x[i*k:(i+1)*k], w[j*k:(j+1)*k])
		}
	}
}

// tile42 adds the products of four rows of x and two rows of w, eight sums at a time in registers.
func tile42(y []float32, m int, x, w []float32, k int) {
	x0, x1, x2, x3 := x[:k], x[k:2*k], x[2*k:3*k], x[3*k:4*k]
	w0, w1 := w[:k], w[k:2*k]
	var a0, a1, a2, a3, b0, b1, b2, b3 float32
	for i := range w0 {
		u, v := w0[i], w1[i]
		p, q, r, s := x0[i], x1[i], x2[i], x3[i]
		a0 += float32(p * u)
		b0 += float32(p * v)
		a1 += float32(q * u)
		b1 += float32(q * v)
		a2 += float32(r * u)
		b2 += float32(r * v)
		a3 += float32(s * u)
		b3 += float32(s * v)
	}
	y[0] += a0
	y[1] += b0
	y[m] += a1
	y[m+1] += b1
	y[2*m] += a2
	y[2*m+1] += b2
	y[3*m] += a3
	y[3*m+1] += b3
}

func dot(a, b []float32) float32 {
	var s float32
	b = b[:len(a)]
	for i, v := range a {
		s += float32(v * b[i])
	}
	return s
}

// axpy computes y += a·x.
func axpy(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += float32(a * x[i])
	}
}

func transpose(dst, src []float32, rows, cols int) {
	for r := range rows {
		row := src[r*cols : (r+1)*cols]
		for c, v := range row {
			dst[c*rows+r] = v
		}
	}
}

// exp is e^x to float32 precision. math.Exp differs in its last bit between processors.
func exp(x float32) float32 {
	if x < -87 {
		return 0
	}
	if x > 88 {
		x = 88
	}
	k := math.Floor(float64(float64(x)*math.Log2E) + 0.5)
	r := float64(x) - float64(k*math.Ln2)
	p := 1.0
	for n := 9.0; n >= 1; n-- {
		p = 1 + float64(p*(r/n))
	}
	return float32(math.Ldexp(p, int(k)))
}

// softmax turns v into probabilities in place.
func softmax(v []float32) {
	top := v[0]
	for _, x := range v {
		top = max(top, x)
	}
	var sum float32
	for i, x := range v {
		v[i] = exp(x - top)
		sum += v[i]
	}
	for i := range v {
		v[i] /= sum
	}
}

func sigmoid(x float32) float32 { return 1 / (1 + exp(-x)) }

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
