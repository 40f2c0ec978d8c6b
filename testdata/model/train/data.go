package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"unicode"
)

// corpus is data.json: what the model is taught.
type corpus struct {
	Intents     []intent            `json:"intents"`
	Modes       []string            `json:"modes"`
	Systems     []string            `json:"systems"`     // sentences of ordinary system prompts
	ModeSystems []string            `json:"modeSystems"` // sentences that name a mode as {mode}
	Greetings   map[string][]string `json:"greetings"`   // by language, put before a question
	Patterns    map[string][]string `json:"patterns"`    // questions without an answer; {w} a word, {d} a digit
	Words       map[string][]string `json:"words"`
}

// intent is one answer and the questions that ask for it.
type intent struct {
	Name      string            `json:"name"`
	Language  string            `json:"language"`
	Answer    string            `json:"answer"`
	Modes     map[string]string `json:"modes"` // the answer in a named mode, where it differs
	Questions []string          `json:"questions"`
}

// sample is one exchange.
type sample struct{ system, question, answer string }

// unknownIntent names the intents that catch every other question.
const unknownIntent = "unknown"

func loadCorpus(path string) (*corpus, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := new(corpus)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	if len(c.Intents) == 0 || len(c.Modes) == 0 || len(c.Systems) == 0 || len(c.ModeSystems) == 0 {
		return nil, errors.New("incomplete training data")
	}
	return c, nil
}

// answer is what the intent says in a mode; "" is the ordinary mode.
func (in *intent) answer(mode string) string {
	if a, ok := in.Modes[mode]; ok {
		return a
	}
	return in.Answer
}

// exam lists every question without a system prompt, with two ordinary ones, and three times in each mode.
func (c *corpus) exam() []sample {
	var all []sample
	n := 0
	for i := range c.Intents {
		in := &c.Intents[i]
		for _, q := range in.Questions {
			all = append(all, sample{"", q, in.answer("")})
			for k := range 2 {
				all = append(all, sample{c.Systems[(n+7*k)%len(c.Systems)], q, in.answer("")})
			}
			for k := range 3 * len(c.Modes) {
				mode := c.Modes[k%len(c.Modes)]
				prompt := strings.ReplaceAll(c.ModeSystems[(n+5*k)%len(c.ModeSystems)], "{mode}", mode)
				all = append(all, sample{prompt, q, in.answer(mode)})
			}
			n++
		}
	}
	return all
}

// text joins everything the tokenizer should know, each text with a weight by repetition.
func (c *corpus) text() []string {
	var out []string
	for _, s := range c.exam() {
		out = append(out, s.system, s.question, s.answer)
	}
	for _, lang := range []string{"ru", "en"} {
		out = append(out, c.Greetings[lang]...)
		out = append(out, c.Words[lang]...)
	}
	return out
}

// draw makes one random exchange for training.
func (c *corpus) draw(r *rand.Rand) sample {
	mode := ""
	if r.IntN(10) < 3 {
		mode = c.Modes[r.IntN(len(c.Modes))]
	}
	s := sample{system: c.drawSystem(r, mode)}
	in := &c.Intents[r.IntN(len(c.Intents))]
	switch k := r.IntN(100); {
	case k < 25:
		in = c.pick(r, func(in *intent) bool { return in.Name == unknownIntent })
		s.question = choose(r, in.Questions)
		if k < 15 {
			s.question = c.fill(r, c.Patterns[in.Language], in.Language)
		}
		if k < 4 {
			s.question = gibberish(r, in.Language)
		}
	case mode != "" && k < 60:
		in = c.pick(r, func(in *intent) bool { return in.Modes[mode] != "" })
		s.question = choose(r, in.Questions)
	default:
		s.question = choose(r, in.Questions)
	}
	s.answer = in.answer(mode)
	if r.IntN(2) == 0 {
		s.question = c.disturb(r, in.Language, s.question)
	}
	return s
}

// pick draws an intent that ok accepts.
func (c *corpus) pick(r *rand.Rand, ok func(*intent) bool) *intent {
	for {
		if in := &c.Intents[r.IntN(len(c.Intents))]; ok(in) {
			return in
		}
	}
}

// drawSystem makes a system prompt of random sentences; a mode is named in a sentence or as a bare word.
func (c *corpus) drawSystem(r *rand.Rand, mode string) string {
	if mode == "" && r.IntN(3) == 0 {
		return ""
	}
	n := r.IntN(3)
	if mode == "" {
		n++
	}
	var parts []string
	for range n {
		lang := [2]string{"ru", "en"}[r.IntN(2)]
		switch r.IntN(20) {
		case 0:
			parts = append(parts, gibberish(r, lang))
		case 1, 2, 3, 4:
			parts = append(parts, c.fill(r, c.Patterns[lang], lang))
		default:
			parts = append(parts, choose(r, c.Systems))
		}
	}
	if mode != "" {
		named := strings.ReplaceAll(choose(r, c.ModeSystems), "{mode}", mode)
		at := r.IntN(len(parts) + 1)
		parts = append(parts[:at], append([]string{named}, parts[at:]...)...)
	}
	return strings.Join(parts, " ")
}

// fill replaces the marks of a random pattern by random words and digits.
func (c *corpus) fill(r *rand.Rand, patterns []string, lang string) string {
	text := choose(r, patterns)
	for strings.Contains(text, "{w}") {
		text = strings.Replace(text, "{w}", choose(r, c.Words[lang]), 1)
	}
	for strings.Contains(text, "{d}") {
		text = strings.Replace(text, "{d}", choose(r, []string{"0", "1", "3", "4", "5", "6", "7", "8", "9", "10", "12"}), 1)
	}
	return text
}

// disturb changes how a question is written, not what it asks.
func (c *corpus) disturb(r *rand.Rand, lang, q string) string {
	if r.IntN(4) == 0 {
		q = choose(r, c.Greetings[lang]) + q
	}
	switch r.IntN(6) {
	case 0, 1:
		q = strings.ToLower(q)
	case 2:
		q = strings.ToUpper(q)
	}
	switch r.IntN(4) {
	case 0, 1:
		q = strings.TrimRight(q, "?!. ")
	case 2:
		q = strings.TrimRight(q, "?!.") + choose(r, []string{"?", "!", ".", "??", "...", " ?", "?!"})
	}
	if r.IntN(4) == 0 {
		q = misspell(r, q)
	}
	return q
}

// gibberish is a text that no intent knows: random signs, or one sign again and again.
func gibberish(r *rand.Rand, lang string) string {
	letters := []rune("абвгдежзийклмнопрстуфхцчшщыэюя ")
	if lang == "en" {
		letters = []rune("abcdefghijklmnopqrstuvwxyz 0123456789.,?!-/*()你好世界🙂😀é")
	}
	out := make([]rune, 2+r.IntN(1<<(2+r.IntN(7))))
	one, same := letters[r.IntN(len(letters))], r.IntN(3) == 0
	for i := range out {
		out[i] = letters[r.IntN(len(letters))]
		if same {
			out[i] = one
		}
	}
	return string(out)
}

// misspell drops, doubles or swaps one letter of a longer text.
func misspell(r *rand.Rand, q string) string {
	runes := []rune(q)
	if len(runes) < 9 {
		return q
	}
	i := 1 + r.IntN(len(runes)-2)
	if !unicode.IsLetter(runes[i]) || !unicode.IsLetter(runes[i+1]) {
		return q
	}
	switch r.IntN(3) {
	case 0:
		return string(runes[:i]) + string(runes[i+1:])
	case 1:
		return string(runes[:i+1]) + string(runes[i:])
	}
	runes[i], runes[i+1] = runes[i+1], runes[i]
	return string(runes)
}

func choose(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }
