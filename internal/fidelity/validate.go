package fidelity

import (
	"cmp"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// More limits of a baseline, and with it of what is examined.
const (
	maxFiles   = 20_000 // below models/ and memory/ each
	maxModes   = 32
	maxAnswers = 128
	maxCuts    = 2000
	maxText    = 64 << 10 // bytes
	maxTokens  = 8192     // of a passage or an answer
	maxID      = 1 << 24  // token ids are below
	maxTop     = 100
	maxVector  = 1 << 16 // dimensions
)

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checker collects the first thing that is wrong.
type checker struct{ err error }

func (c *checker) want(ok bool, format string, args ...any) {
	if !ok && c.err == nil {
		c.err = bad("baseline: "+format, args...)
	}
}

func (c *checker) digest(what, s string, optional bool) {
	c.want(optional && s == "" || digestForm.MatchString(s), "%.80q: %.80q is no sha256", what, s)
}

func (c *checker) text(what, s string) {
	c.want(len(s) <= maxText, "%s: a text of %d bytes", what, len(s))
}

func (c *checker) path(p string) {
	c.want(len(p) < 4096 && p != "" && p != "." && p[0] != '/' && path.Clean(p) == p && p != ".." && !strings.HasPrefix(p, "../"), "path %.80q", p)
}

// rising wants keys in order, each once, and at most limit of them.
func rising[T any, K cmp.Ordered](c *checker, what string, limit int, list []T, key func(T) K) {
	c.want(len(list) <= limit, "%d of %s", len(list), what)
	c.want(slices.IsSortedFunc(list, func(a, b T) int {
		return cmp.Or(cmp.Compare(key(a), key(b)), -1) // equal ones are not in order, either
	}), "%s are not in order, or there twice", what)
}

func (b *Baseline) validate() error {
	c := &checker{}
	c.want(b.Schema == schema, "schema %.40q, not %s", b.Schema, schema)
	c.want(b.Recorded.Equal(b.Recorded.UTC().Truncate(time.Second)) && b.Recorded.Location() == time.UTC, "a time that is not in whole seconds UTC")
	c.text("build", b.Origin.Build)
	c.text("hardware", b.Origin.Hardware)
	if b.Bytes != nil {
		c.bytes(b.Bytes)
	}
	if b.Start != nil {
		c.start(b.Start)
	}
	if b.Greeting != nil {
		c.greeting(b.Greeting)
	}
	if b.Style != nil {
		c.style(b.Style)
	}
	if b.Memory != nil {
		c.memory(b.Memory)
	}
	return c.err
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
