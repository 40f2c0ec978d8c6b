// Command train makes greeter.gguf, the small model of agibake's demo and tests, from data.json. The same data give
// the same bytes. It fails unless the model answers every question of the data exactly.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

func main() {
	data := flag.String("data", "testdata/model/data.json", "training data")
	out := flag.String("o", "testdata/model/greeter.gguf", "file to write")
	steps := flag.Int("steps", 1400, "training steps")
	flag.Parse()
	if err := produce(*data, *out, *steps, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

// merges is the number of pieces longer than a character.
const merges = 400

func produce(data, out string, steps int, log io.Writer) error {
	lessons, err := loadCorpus(data)
	if err != nil {
		return err
	}
	tok := learnTokenizer(lessons.text(), merges)
	c := config{vocab: len(tok.pieces), dim: 96, layers: 2, heads: 4, ff: 256, context: 2048}
	r := rand.New(rand.NewPCG(1, 2))
	t := newTrainer(c, r)
	fmt.Fprintf(log, "%d tokens, %d parameters\n", c.vocab, len(t.w.flat))
	t.train(lessons, tok, r, steps, 32, log)
	if err := t.examine(lessons, tok, log); err != nil {
		return err
	}
	return write(out, encodeGGUF(metadata(c, tok), t.w.tensors(c)), log)
}

// examine prints question and answer for all of the data and fails unless each answer is exact.
func (t *trainer) examine(lessons *corpus, tok *tokenizer, log io.Writer) error {
	wrong, least := 0, float32(1)
	exam := lessons.exam()
	for _, s := range exam {
		got, exact, margin := t.ask(tok, s)
		least = min(least, margin)
		mark := ""
		if !exact {
			wrong++
			mark = "   (expected " + s.answer + ")"
		}
		fmt.Fprintf(log, "[%s] %s → %s%s\n", s.system, s.question, tok.decode(got), mark)
	}
	fmt.Fprintf(log, "%d of %d exact, least margin %.3f\n", len(exam)-wrong, len(exam), least)
	if wrong > 0 {
		return fmt.Errorf("%d of %d answers are wrong", wrong, len(exam))
	}
	return nil
}

// write puts the finished file in place in one step.
func write(path string, data []byte, log io.Writer) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".greeter-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintf(log, "%x  %s (%d bytes)\n", sha256.Sum256(data), filepath.Base(path), len(data))
	return os.Rename(f.Name(), path)
}
