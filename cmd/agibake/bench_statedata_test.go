package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// benchMind is the state that is captured, by the sizes of its parts in bytes.
type benchMind struct {
	weights, text int64
	vectors       int
}

const benchWeights = "models/bench.safetensors"

var benchTexts = []string{"memory/documents.jsonl", "memory/dialogues.jsonl", "logs/thoughts.jsonl"}

// write makes the state, the same each time but for what Chroma does.
func (m benchMind) write(b *bench, dir string) {
	b.Helper()
	b.mkdir(dir+"/models", dir+"/memory", dir+"/logs")
	b.must(writeTensors(filepath.Join(dir, benchWeights), m.weights))
	for i, name := range benchTexts {
		b.must(writeTalk(filepath.Join(dir, name), uint64(i), m.text/int64(len(benchTexts))))
	}
	b.chroma(dir+"/memory/chroma", func(c benchChroma) error { return c.fill(0, m.vectors, 1, 0) })
}

// change alters about 1 % of each part of the state in dir: one tensor, lines of text in runs and at the end, vectors.
func (m benchMind) change(b *bench, original, dir string) {
	b.Helper()
	b.must(replaceTensor(filepath.Join(dir, benchWeights), m.weights))
	for i, name := range benchTexts {
		b.must(editTalk(filepath.Join(original, name), filepath.Join(dir, name), uint64(i)))
	}
	b.chroma(dir+"/memory/chroma", func(c benchChroma) error { return c.fill(0, m.vectors, 100, 1) })
}

// benchLayer lists the tensors of a layer with their sizes in MiB.
var benchLayer = []struct {
	name string
	mib  int64
}{{"self_attn.k_proj", 16}, {"self_attn.v_proj", 20}, {"self_attn.q_proj", 32}, {"self_attn.o_proj", 32},
	{"mlp.gate_proj", 44}, {"mlp.up_proj", 44}, {"mlp.down_proj", 64}}

const benchLayerMiB = 16 + 20 + 32 + 32 + 44 + 44 + 64

// tensorHeader is how a safetensors file with size bytes of weights begins.
func tensorHeader(size int64) []byte {
	type tensor struct {
		Type    string   `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	all := map[string]tensor{}
	for at, i := int64(0), 0; at < size; i++ {
		one := benchLayer[i%len(benchLayer)]
		n := min(one.mib<<20, size-at)
		all[fmt.Sprintf("model.layers.%d.%s.weight", i/len(benchLayer), one.name)] = tensor{"BF16", []int64{n / 2048, 1024}, [2]int64{at, at + n}}
		at += n
	}
	text, _ := json.Marshal(all)
	text = append(text, bytes.Repeat([]byte(" "), -len(text)&7)...)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
}

func writeTensors(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(tensorHeader(size)); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(f, benchNoise(1, size), make([]byte, 1<<20)); err != nil {
		return err
	}
	return f.Close()
}

// benchNoise is what no program compresses.
func benchNoise(seed byte, size int64) io.Reader {
	return struct{ io.Reader }{io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)}
}

// replaceTensor gives the tensor of 20 MiB in the middle layer other weights.
func replaceTensor(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at := int64(len(tensorHeader(size))) + (size>>20/benchLayerMiB/2*benchLayerMiB+16)<<20
	if _, err := io.Copy(io.NewOffsetWriter(f, at), benchNoise(2, 20<<20)); err != nil {
		return err
	}
	return f.Close()
}

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
