package fidelity

import (
	"context"
	"fmt"
	"slices"

	"github.com/agibake/agibake/internal/progress"
)

const answerTokens = 64 // enough to know a voice, little enough for a slow processor

// Greeting are the answers at temperature 0.
type Greeting struct {
	Seed    uint32   `json:"seed"`
	Limit   int      `json:"limit"` // tokens of an answer
	Answers []Answer `json:"answers"`
}

// Answer is one question with what the model said.
type Answer struct {
	Mode     string `json:"mode"`
	System   string `json:"system"` // the mode's system prompt
	Question string `json:"question"`
	Greeting bool   `json:"greeting"` // whether level 3 rests on it
	Text     string `json:"text"`
	Tokens   []int  `json:"tokens"`
}

// greeting asks all questions, one after the other.
func (x *examiner) greeting(ctx context.Context, ask []Answer) (*Greeting, error) {
	g := &Greeting{Seed: x.options.Seed, Limit: answerTokens}
	for i, a := range ask {
		prompt, err := x.server.render(ctx, dialogue(a.System, a.Question))
		if err != nil {
			return nil, err
		}
		r, err := x.server.complete(ctx, prompt, map[string]any{"seed": g.Seed, "n_predict": g.Limit})
		if err != nil {
			return nil, err
		}
		if len(r.Tokens) == 0 || len(r.Tokens) > maxTokens {
			return nil, fmt.Errorf("ask %q: an answer of %d tokens (return_tokens)", short(a.Question, 80), len(r.Tokens))
		}
		a.Text, a.Tokens = r.Content, r.Tokens
		g.Answers = append(g.Answers, a)
		x.count("greeting", i+1, len(ask))
	}
	return g, nil
}

func (x *examiner) checkGreeting(ctx context.Context, b *Baseline, v *Verdict) (Level, error) {
	if l := x.unasked(b.Greeting == nil); l != nil {
		return *l, nil
	}
	x.options.Seed = b.Greeting.Seed
	ask := slices.Clone(b.Greeting.Answers)
	for i, a := range ask { // in the words that its own settings have now
		for _, m := range x.settings.modes {
			if m.Name == a.Mode {
				ask[i].System = m.Prompt
			}
		}
	}
	is, err := x.greeting(ctx, ask)
	if err != nil {
		return Level{}, err
	}
	for i, was := range b.Greeting.Answers {
		now := is.Answers[i]
		v.Answers = append(v.Answers, Pair{was.Mode, was.Question, was.Text, now.Text, slices.Equal(was.Tokens, now.Tokens), was.Greeting})
	}
	return judgeGreeting(b.Greeting, is, v.Was.like(v.Is)), nil
}

// unasked is for levels that need an answering server and a recording of one.
func (x *examiner) unasked(unrecorded bool) *Level {
	why := ""
	switch {
	case unrecorded:
		why = "the baseline was recorded without a server"
	case x.target.Server == "":
		why = "no server was given"
	case x.down:
		why = "the server did not start"
	default:
		return nil
	}
	l := notAsked(why)
	return &l
}

// judgeGreeting wants the same tokens for the greeting in every mode. Other answers are noted; all is true where a rerun
// must be exact, and then they count, too.
func judgeGreeting(was, is *Greeting, all bool) Level {
	l := Level{Status: Pass}
	greetings, others, differ := 0, 0, 0
	for i, a := range was.Answers {
		n := is.Answers[i]
		same := slices.Equal(a.Tokens, n.Tokens)
		if a.Greeting {
			greetings++
		} else {
			others++
		}
		switch {
		case same:
		case a.Greeting || all:
			l.fail("%s", parted(a, n))
		default:
			differ++
		}
	}
	if differ > 0 {
		l.note("%d of %s differ, on other hardware or another build", differ, plural(others, "further answer"))
	}
	if l.Status == Pass {
		text := fmt.Sprintf("%s: equal token by token", plural(greetings, "greeting"))
		if others > 0 && differ == 0 {
			text = fmt.Sprintf("%s and %s: equal token by token", plural(greetings, "greeting"), plural(others, "further answer"))
		}
		l.first("%s", text)
	}
	return l
}

// parted says where two answers part.
func parted(was, is Answer) string {
	i := 0
	for i < len(was.Tokens) && i < len(is.Tokens) && was.Tokens[i] == is.Tokens[i] {
		i++
	}
	where := ""
	if was.Mode != "" {
		where = " in mode " + was.Mode
	}
	return fmt.Sprintf("%q%s is answered differently from token %d on: “%s”, was “%s”", short(was.Question, 80), where, i+1, short(is.Text, 120), short(was.Text, 120))
}

func (x *examiner) count(item string, done, total int) {
	x.options.Progress.Send(progress.Event{Stage: stage, Item: item, Done: int64(done), Total: int64(total), End: done == total})
}
