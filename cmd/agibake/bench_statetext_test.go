package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
)

// talk makes lines of text in which words are as frequent as in a language, and some phrases come again and again.
type talk struct {
	r       *rand.Rand
	zipf    *rand.Zipf
	words   []string
	phrases []string
	n       int
}

func newTalk(seed uint64) *talk {
	r := rand.New(rand.NewPCG(7, 7)) // the same language for all
	t := &talk{r: r, zipf: rand.NewZipf(r, 1.2, 8, 19999)}
	syllables := strings.Fields("ба во да ле ми но ра сто те у я при пер ка ла ны го шо ще ря зы ци хо фе")
	for range 20000 {
		word := ""
		for range 1 + r.IntN(4) {
			word += syllables[r.IntN(len(syllables))]
		}
		t.words = append(t.words, word)
	}
	for range 3000 {
		t.phrases = append(t.phrases, t.some(6+r.IntN(8)))
	}
	t.r = rand.New(rand.NewPCG(seed, 1))
	t.zipf = rand.NewZipf(t.r, 1.2, 8, 19999)
	return t
}

func (t *talk) some(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = t.words[t.zipf.Uint64()]
	}
	return strings.Join(list, " ")
}

func (t *talk) line() string {
	t.n++
	var text []string
	for range 1 + t.r.IntN(6) {
		if t.r.IntN(4) == 0 {
			text = append(text, t.phrases[t.r.IntN(len(t.phrases))])
		} else {
			text = append(text, t.some(4+t.r.IntN(16)))
		}
	}
	role := [...]string{"user", "assistant"}[t.n%2]
	return fmt.Sprintf("{\"id\":\"%08x-%04x\",\"n\":%d,\"role\":%q,\"score\":%.4f,\"text\":\"%s.\"}\n", t.r.Uint32(), t.r.IntN(1<<16), t.n, role, t.r.Float64(), strings.Join(text, ". "))
}

func writeTalk(path string, seed uint64, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	t, w := newTalk(seed), bufio.NewWriterSize(f, 1<<20)
	for size > 0 {
		n, err := w.WriteString(t.line())
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return errors.Join(w.Flush(), f.Close())
}

// editTalk copies a file with 50 of 5000 lines written anew, and 1 in 200 added.
func editTalk(from, to string, seed uint64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	t, r, w, n := newTalk(seed+100), bufio.NewReaderSize(in, 1<<20), bufio.NewWriterSize(f, 1<<20), 0
	for ; ; n++ {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if n%5000/50 == 42 {
			line = t.line()
		}
		if _, err := w.WriteString(line); err != nil {
			return err
		}
	}
	for range n / 200 {
		if _, err := w.WriteString(t.line()); err != nil {
			return err
		}
	}
	return errors.Join(w.Flush(), f.Close())
}
