package fidelity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (x *examiner) checkStart(ctx context.Context, b *Baseline, v *Verdict) (Level, error) {
	switch {
	case b.Start == nil:
		return notAsked("the baseline was recorded without a server"), nil
	case x.target.Server == "":
		return notAsked("no server was given"), nil
	case x.broken != nil:
		return Level{}, x.broken
	}
	with := x.settings
	if !with.known { // then the recorded prompts show what the template makes of them
		with.modes, with.question = b.Start.Modes, b.Start.Question
	}
	is, build, err := x.start(ctx, with)
	if x.down = err != nil; x.down {
		return Level{}, err
	}
	v.Is.Build = build
	return judgeStart(b.Start, is), nil
}

func judgeStart(was, is *Start) Level {
	l := Level{Status: Pass}
	for _, p := range []struct{ what, was, is string }{
		{"the weights are", was.Weights, is.Weights},
		{"the token that begins a text is", was.BOS, is.BOS}, {"the token that ends an answer is", was.EOS, is.EOS},
	} {
		if p.was != p.is && (p.what != "the weights are" || p.was != "" && p.is != "") {
			l.fail("%s %q, was %q", p.what, p.is, p.was)
		}
	}
	if was.Template != is.Template {
		l.fail("the chat template is another")
	}
	if was.Context != is.Context {
		l.fail("it remembers %s of a dialogue, was %d (--ctx-size)", plural(is.Context, "token"), was.Context)
	}
	for _, k := range slices.Sorted(maps.Keys(was.Sampling)) { // what only one build knows is no difference of the mind
		if now, known := is.Sampling[k]; known && now != was.Sampling[k] {
			l.fail("the server's default for %s is %s, was %s", k, short(now, 80), short(was.Sampling[k], 80))
		}
	}
	judgeModes(&l, was, is)
	now := map[string]string{}
	for _, r := range is.Rendered {
		now[r.Name] = r.SHA256
	}
	for _, r := range was.Rendered {
		if sha, there := now[r.Name]; there && sha != r.SHA256 {
			l.fail("%s is put to the model in other words than before", r.Name)
		}
	}
	if is.Slots > 1 {
		l.note("the server has %d slots: answers may depend on what else it does", is.Slots)
	}
	if l.Status == Pass {
		l.first("healthy; chat template, %s and the server's defaults are as they were", plural(len(was.Rendered), "rendered dialogue"))
	}
	return l
}

func judgeModes(l *Level, was, is *Start) {
	if !was.Known || !is.Known {
		l.note("system prompts: not asked, no state folder was given")
		return
	}
	now := map[string]Mode{}
	for _, m := range is.Modes {
		now[m.Name] = m
	}
	for _, m := range was.Modes {
		n, there := now[m.Name]
		switch {
		case !there:
			l.fail("mode %s is missing", m.Name)
		case n.Prompt != m.Prompt:
			l.fail("the system prompt of mode %s was edited: %s", m.Name, edited(m.Prompt, n.Prompt))
		case n.Settings != m.Settings && n.Settings != "" && m.Settings != "":
			l.fail("the settings of mode %s differ", m.Name)
		}
		delete(now, m.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		l.note("mode %s is new", name)
	}
	if was.Question != is.Question {
		l.fail("the greeting asks %q, was %q", short(is.Question, 80), short(was.Question, 80))
	}
}

// edited shows where two texts part.
func edited(was, is string) string {
	a, b := []rune(was), []rune(is)
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-10)
	part := func(r []rune) string { return strings.TrimSpace(string(r[from:min(len(r), i+20)])) }
	return fmt.Sprintf("from character %d on “%s”, was “%s”", i+1, part(b), part(a))
}
