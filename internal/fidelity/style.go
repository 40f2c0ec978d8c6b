package fidelity

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/agibake/agibake/internal/fault"
)

const (
	topChoices    = 10
	maxFloor      = 0.05 // nats; a noisier source could be told from nobody
	passageTokens = 96   // of a document: a longer prefix costs time and tells no more
)

// Style is what the model would say next at recorded places.
type Style struct {
	Top      int       `json:"top"` // choices asked for
	Floor    Floor     `json:"floor"`
	Passages []Passage `json:"passages"`
}

// Floor is the source against itself: its noise.
type Floor struct {
	KL        float64 `json:"kl"`
	Agreement float64 `json:"top1"`
	Exact     bool    `json:"exact"`
}

// Passage is a text in tokens with the places where the model was asked.
type Passage struct {
	Tokens []int      `json:"tokens"`
	Cuts   []int      `json:"cuts"` // lengths of the prefixes, in tokens
	Next   [][]Choice `json:"next"` // for each cut, the likeliest tokens, best first
}

// Choice is a token that may come next.
type Choice struct {
	ID      int     `json:"id"`
	LogProb float64 `json:"logprob"` // natural logarithm
}

// recordStyle takes passages from answers and memory and asks at their places, twice.
func (x *examiner) recordStyle(ctx context.Context, g *Greeting) (*Style, error) {
	passages, err := x.passages(ctx, g)
	if err != nil {
		return nil, err
	}
	spread(passages, x.options.prefixes())
	s := &Style{Top: topChoices}
	for _, p := range passages {
		if len(p.Cuts) > 0 {
			p.Tokens = p.Tokens[:p.Cuts[len(p.Cuts)-1]]
			s.Passages = append(s.Passages, p)
		}
	}
	if len(s.Passages) == 0 {
		return nil, errors.New("record the style: no words to ask at")
	}
	first, err := x.forced(ctx, s)
	if err != nil {
		return nil, err
	}
	second, err := x.forced(ctx, s)
	if err != nil {
		return nil, err
	}
	for i := range s.Passages {
		s.Passages[i].Next = first[i]
	}
	f := compare(s.Passages, second)
	s.Floor = Floor{f.KL, f.Agreement, f.Exact}
	if f.KL > maxFloor {
		return nil, fault.Hint(bad("record the style: asked twice, the server differs from itself by a mean KL of %.2g", f.KL), steady)
	}
	return s, nil
}

// passages are the model's own answers, each after its prompt, and the first documents of the memory.
func (x *examiner) passages(ctx context.Context, g *Greeting) (list []Passage, err error) {
	add := func(text string, answer []int) error {
		tokens, err := x.server.tokenize(ctx, text)
		if err != nil {
			return err
		}
		from := 1
		if answer != nil {
			from = len(tokens)
			tokens = append(tokens, answer...)
		} else {
			tokens = tokens[:min(len(tokens), passageTokens)]
		}
		if len(tokens) > maxTokens { // a system prompt without measure
			return nil
		}
		p := Passage{Tokens: tokens}
		for at := max(from, 1); at < len(tokens); at++ {
			p.Cuts = append(p.Cuts, at)
		}
		list = append(list, p)
		return nil
	}
	for _, a := range g.Answers {
		prompt, err := x.server.render(ctx, dialogue(a.System, a.Question))
		if err != nil {
			return nil, err
		}
		if err := add(prompt, a.Tokens); err != nil {
			return nil, err
		}
	}
	if x.target.Root == "" {
		return list, nil
	}
	root, err := os.OpenRoot(x.target.Root)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	defer root.Close()
	texts, err := excerpts(ctx, root)
	for i := 0; i < len(texts) && err == nil; i++ {
		err = add(texts[i], nil)
	}
	return list, err
}

// spread keeps want of all places, evenly.
func spread(list []Passage, want int) {
	total := 0
	for _, p := range list {
		total += len(p.Cuts)
	}
	want = min(want, total)
	seen, kept := 0, 0
	for i := range list {
		var cuts []int
		for _, at := range list[i].Cuts {
			if seen*want/total >= kept && kept < want {
				cuts = append(cuts, at)
				kept++
			}
			seen++
		}
		list[i].Cuts = cuts
	}
}

// forced asks at every place of s, with the recorded words before it whatever the model would have said.
func (x *examiner) forced(ctx context.Context, s *Style) ([][][]Choice, error) {
	total, done := 0, 0
	for _, p := range s.Passages {
		total += len(p.Cuts)
	}
	all := make([][][]Choice, len(s.Passages))
	for i, p := range s.Passages {
		for _, at := range p.Cuts {
			n, err := x.server.next(ctx, p.Tokens[:at], s.Top)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], n)
			done++
			x.count("style", done, total)
		}
	}
	return all, nil
}
