package fidelity

import (
	"math"
	"slices"
)

func (c *checker) bytes(b *Bytes) {
	rising(c, "model files", maxFiles, b.Files, func(f File) string { return f.Path })
	for _, f := range b.Files {
		c.path(f.Path)
		c.want(f.Size >= 0, "%.80q of %d bytes", f.Path, f.Size)
		c.digest(f.Path, f.SHA256, false)
		for _, s := range []string{f.Tokenizer, f.Template, f.Parameters} {
			c.digest(f.Path, s, true)
		}
		for _, t := range f.Tensors {
			c.text("tensor", t.Name)
			c.want(t.Size >= 0, "tensor %.80q of %d bytes", t.Name, t.Size)
			c.digest(t.Name, t.SHA256, false)
		}
	}
}

func (c *checker) start(s *Start) {
	c.digest("chat template", s.Template, true)
	c.want(s.Slots >= 0 && s.Context >= 0, "%d slots, %d tokens", s.Slots, s.Context)
	c.want(len(s.Sampling) <= 1000, "%d sampling parameters", len(s.Sampling))
	for k, v := range s.Sampling {
		c.text("sampling parameter", k)
		c.text("sampling parameter", v)
	}
	for _, t := range []string{s.Weights, s.BOS, s.EOS, s.Question} {
		c.text("start", t)
	}
	rising(c, "modes", maxModes, s.Modes, func(m Mode) string { return m.Name })
	for _, m := range s.Modes {
		c.text("mode", m.Name)
		c.text("system prompt", m.Prompt)
		c.digest(m.Name, m.Settings, true)
	}
	c.want(len(s.Rendered) <= maxModes+2, "%d rendered dialogues", len(s.Rendered))
	for _, r := range s.Rendered {
		c.text("dialogue", r.Name)
		c.digest(r.Name, r.SHA256, false)
		c.want(r.Size >= 0, "a dialogue of %d bytes", r.Size)
	}
}

func (c *checker) greeting(g *Greeting) {
	c.want(g.Limit > 0 && g.Limit <= maxTokens && len(g.Answers) <= maxAnswers, "%d answers of %d tokens", len(g.Answers), g.Limit)
	for _, a := range g.Answers {
		for _, t := range []string{a.Mode, a.System, a.Question, a.Text} {
			c.text("answer", t)
		}
		c.tokens(a.Tokens)
	}
}

func (c *checker) tokens(list []int) {
	c.want(len(list) <= maxTokens, "%d tokens", len(list))
	for _, t := range list {
		c.want(t >= 0 && t < maxID, "token %d", t)
	}
}

func (c *checker) style(s *Style) {
	c.want(s.Top > 0 && s.Top <= maxTop, "%d choices", s.Top)
	c.want(finite(s.Floor.KL) && s.Floor.KL >= 0 && s.Floor.KL <= maxFloor && s.Floor.Agreement >= 0 && s.Floor.Agreement <= 1, "noise floor %v", s.Floor)
	cuts := 0
	for _, p := range s.Passages {
		c.tokens(p.Tokens)
		c.want(len(p.Next) == len(p.Cuts), "%d choices at %d places", len(p.Next), len(p.Cuts))
		rising(c, "places", maxCuts, p.Cuts, func(n int) int { return n })
		for _, at := range p.Cuts {
			c.want(at > 0 && at <= len(p.Tokens), "a place after %d of %d tokens", at, len(p.Tokens))
		}
		for _, n := range p.Next {
			c.want(len(n) > 0 && len(n) <= s.Top, "%d choices", len(n))
			c.want(sound(n), "choices that are no probabilities")
		}
		cuts += len(p.Cuts)
	}
	c.want(cuts > 0 && cuts <= maxCuts, "%d places", cuts)
}

// sound says whether choices can be part of a distribution, best first.
func sound(list []Choice) bool {
	sum := 0.0
	for i, n := range list {
		if !finite(n.LogProb) || n.LogProb > 1e-3 || n.ID < 0 || n.ID >= maxID || i > 0 && n.LogProb > list[i-1].LogProb {
			return false
		}
		if slices.ContainsFunc(list[:i], func(m Choice) bool { return m.ID == n.ID }) {
			return false
		}
		sum += math.Exp(n.LogProb)
	}
	return sum < 1.01
}

func (c *checker) memory(m *Memory) {
	rising(c, "documents", maxFiles, m.Documents, func(d Document) string { return d.Path })
	for _, d := range m.Documents {
		c.path(d.Path)
		c.want((d.Records == nil) == (d.SHA256 != ""), "%.80q: either records or one hash", d.Path)
		c.digest(d.Path, d.SHA256, true)
		c.records(d.Path, d.Records)
	}
	rising(c, "databases", maxFiles, m.Unread, func(s string) string { return s })
	for _, p := range m.Unread {
		c.path(p)
	}
	rising(c, "collections", maxFiles, m.Collections, Collection.name)
	for _, k := range m.Collections {
		c.text("collection", k.name())
		c.records(k.Name, &k.Records)
		c.want(len(k.Queries) <= queries, "%d queries", len(k.Queries))
		for _, q := range k.Queries {
			c.query(q)
		}
	}
}

func (c *checker) records(what string, r *Records) {
	if r == nil {
		return
	}
	c.digest(what, r.SHA256, false)
	c.want(r.Count >= 0 && (r.Marks == nil || len(r.Marks) == markSize*r.Count && r.Count <= maxMarks), "%.80q: %d marks of %d records", what, len(r.Marks)/markSize, r.Count)
}

func (c *checker) query(q Query) {
	c.want(len(q.Vector) > 0 && len(q.Vector) <= maxVector && len(q.Hits) <= hits, "a query of %d dimensions and %d hits", len(q.Vector), len(q.Hits))
	for _, h := range q.Hits {
		c.text("id", h.ID)
		c.want(finite(h.Distance), "a distance of %v", h.Distance)
	}
	for _, f := range q.Vector {
		c.want(finite(float64(f)), "a vector that is no number")
	}
}
