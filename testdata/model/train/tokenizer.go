package main

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
)

// Token types of GGUF's tokenizer.ggml.token_type.
const (
	typeNormal  = 1
	typeUnknown = 2
	typeControl = 3
	typeByte    = 6
)

// The first tokens, in this order; 256 byte tokens follow.
const (
	tokUnknown = iota
	tokBOS
	tokEOS
	tokSystem
	tokUser
	tokModel
	firstByte
)

// space is how SentencePiece writes a blank.
const space = "\u2581"

// tokenizer is a SentencePiece-style vocabulary with byte fallback.
type tokenizer struct {
	pieces []string
	scores []float32
	types  []int32
	ids    map[string]int
}

func (t *tokenizer) add(piece string, score float32, kind int32) {
	t.ids[piece] = len(t.pieces)
	t.pieces = append(t.pieces, piece)
	t.scores = append(t.scores, score)
	t.types = append(t.types, kind)
}

// learnTokenizer takes all characters of texts and the size most useful merges as vocabulary.
func learnTokenizer(texts []string, merges int) *tokenizer {
	t := &tokenizer{ids: map[string]int{}}
	t.add("<unk>", 0, typeUnknown)
	for _, name := range []string{"<s>", "</s>", "<|system|>", "<|user|>", "<|model|>"} {
		t.add(name, 0, typeControl)
	}
	for b := range 256 {
		t.add(fmt.Sprintf("<0x%02X>", b), 0, typeByte)
	}
	words, counts := countWords(texts)
	for n := range merges {
		best := bestPair(words, counts)
		if best == [2]string{} {
			break
		}
		t.add(best[0]+best[1], -float32(n+1), typeNormal)
		for i := range words {
			words[i] = mergePair(words[i], best)
		}
	}
	for _, ch := range alphabet(texts) {
		t.add(ch, -float32(merges+1), typeNormal)
	}
	return t
}

// countWords cuts texts into words, each split in characters, sorted, with how often it occurs.
func countWords(texts []string) ([][]string, []int) {
	seen := map[string]int{}
	for _, text := range texts {
		word := ""
		for _, r := range strings.ReplaceAll(text, " ", space) {
			letter := unicode.IsLetter(r)
			if word != "" && (!letter || string(r) == space) {
				seen[word]++
				word = ""
			}
			if letter || string(r) == space {
				word += string(r)
			}
		}
		seen[word]++
	}
	delete(seen, "")
	var keys []string
	for w := range seen {
		keys = append(keys, w)
	}
	sort.Strings(keys)
	words, counts := make([][]string, len(keys)), make([]int, len(keys))
	for i, w := range keys {
		words[i], counts[i] = strings.Split(w, ""), seen[w]
	}
	return words, counts
}

// bestPair is the most frequent neighbouring pair; ties go to the first in byte order.
func bestPair(words [][]string, counts []int) [2]string {
	pairs := map[[2]string]int{}
	for i, w := range words {
		for j := 1; j < len(w); j++ {
			pairs[[2]string{w[j-1], w[j]}] += counts[i]
		}
	}
	var best [2]string
	for p, n := range pairs {
		m := pairs[best]
		if n > m || n == m && (p[0] < best[0] || p[0] == best[0] && p[1] < best[1]) {
			best = p
		}
	}
	if pairs[best] < 2 {
		return [2]string{}
	}
	return best
}

func mergePair(word []string, pair [2]string) []string {
	out := word[:0]
	for i := 0; i < len(word); i++ {
		if i+1 < len(word) && word[i] == pair[0] && word[i+1] == pair[1] {
			out = append(out, pair[0]+pair[1])
			i++
			continue
		}
		out = append(out, word[i])
	}
	return out
}

func alphabet(texts []string) []string {
	seen := map[string]bool{space: true}
	for _, text := range texts {
		for _, variant := range []string{text, strings.ToUpper(text), strings.ToLower(text)} {
			for _, r := range strings.ReplaceAll(variant, " ", "") {
				seen[string(r)] = true
			}
		}
	}
	var out []string
	for ch := range seen {
		out = append(out, ch)
	}
	sort.Strings(out)
	return out
}

// encode splits text as llama.cpp's SPM tokenizer does: from characters, always merge the neighbours whose
// joined piece has the best score, the leftmost of equals; what is no piece becomes byte tokens.
func (t *tokenizer) encode(text string) []int {
	parts := strings.Split(strings.ReplaceAll(text, " ", space), "")
	for {
		best, at := float32(0), -1
		for i := 1; i < len(parts); i++ {
			id, ok := t.ids[parts[i-1]+parts[i]]
			if ok && (at < 0 || t.scores[id] > best) {
				best, at = t.scores[id], i
			}
		}
		if at < 0 {
			break
		}
		parts[at-1] += parts[at]
		parts = append(parts[:at], parts[at+1:]...)
	}
	var out []int
	for _, p := range parts {
		if id, ok := t.ids[p]; ok {
			out = append(out, id)
			continue
		}
		for _, b := range []byte(p) {
			out = append(out, firstByte+int(b))
		}
	}
	return out
}

// decode is the text of tokens; control tokens show by name.
func (t *tokenizer) decode(tokens []int) string {
	var b strings.Builder
	for _, id := range tokens {
		if t.types[id] == typeByte {
			b.WriteByte(byte(id - firstByte))
			continue
		}
		b.WriteString(t.pieces[id])
	}
	return strings.ReplaceAll(b.String(), space, " ")
}

// prompt is what the chat template makes of a system prompt and a question.
func (t *tokenizer) prompt(system, question string) []int {
	out := []int{tokBOS}
	if system != "" {
		out = append(append(out, tokSystem), t.encode(system)...)
	}
	out = append(append(out, tokUser), t.encode(question)...)
	return append(out, tokModel)
}
