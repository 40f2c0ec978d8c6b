package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
)

const maxModel = 4 << 20

func TestModelFile(t *testing.T) {
	model, err := os.ReadFile("../greeter.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if len(model) > maxModel {
		t.Errorf("greeter.gguf has %d bytes, more than %d", len(model), maxModel)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(model)); !bytes.Contains(readme, []byte(sum)) {
		t.Errorf("README.md does not name greeter.gguf's sha256 %s", sum)
	}
	r := bytes.NewReader(model)
	var magic [4]byte
	var version uint32
	var tensors, pairs uint64
	for _, v := range []any{&magic, &version, &tensors, &pairs} {
		if err := binary.Read(r, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	if string(magic[:]) != "GGUF" || version != 3 || tensors != 3+9*2 || pairs != uint64(len(metadata(config{heads: 1}, new(tokenizer)))) {
		t.Errorf("header: %q version %d, %d tensors, %d pairs", magic, version, tensors, pairs)
	}
}

// The committed model holds the tokenizer that the data give, so data and model cannot drift apart unseen.
func TestModelHasTheTokenizerOfTheData(t *testing.T) {
	model, err := os.ReadFile("../greeter.gguf")
	if err != nil {
		t.Fatal(err)
	}
	lessons, err := loadCorpus("../data.json")
	if err != nil {
		t.Fatal(err)
	}
	var want ggufWriter
	want.pair("tokenizer.ggml.tokens", learnTokenizer(lessons.text(), merges).pieces)
	if !bytes.Contains(model, want.Bytes()) {
		t.Error("greeter.gguf was made from other data: run go run ./testdata/model/train")
	}
}

func TestTokenizer(t *testing.T) {
	tok := learnTokenizer([]string{"кто ты", "кто кто", "who are"}, 10)
	for _, text := range []string{"", "кто ты", "кт о", "ты — 🙂\n", "  two  "} {
		if got := tok.decode(tok.encode(text)); got != text {
			t.Errorf("decode(encode(%q)) = %q", text, got)
		}
	}
	if got := tok.encode("кто"); len(got) != 1 {
		t.Errorf("a frequent word takes %d tokens", len(got))
	}
}

// The gradients are checked against finite differences.
func TestGradients(t *testing.T) {
	c := config{vocab: 11, dim: 8, layers: 2, heads: 2, ff: 12, context: 16}
	tr := newTrainer(c, rand.New(rand.NewPCG(3, 4)))
	var b batch
	b.append([]int{1, 2, 3, 4, 5}, []int{-1, 3, -1, 5, 6})
	b.append([]int{7, 8, 2}, []int{-1, 2, 9})
	tr.w.transposed(tr.back, c)
	loss := func() float64 {
		scratch := newWeights(c)
		return forward(c, tr.w, &b, tr.cos, tr.sin).backward(scratch, tr.back, 5) / 5
	}
	g := newWeights(c)
	forward(c, tr.w, &b, tr.cos, tr.sin).backward(g, tr.back, 5)
	for i := 0; i < len(tr.w.flat); i += 7 {
		const h = 1e-2
		was := tr.w.flat[i]
		tr.w.flat[i] = was + h
		up := loss()
		tr.w.flat[i] = was - h
		down := loss()
		tr.w.flat[i] = was
		if want := (up - down) / (2 * h); diff(want, float64(g.flat[i])) > 2e-3 {
			t.Fatalf("gradient %d is %g, finite difference %g", i, g.flat[i], want)
		}
	}
}

func diff(a, b float64) float64 { return max(a-b, b-a) }

func TestTrainingIsDeterministic(t *testing.T) {
	lessons, err := loadCorpus("../data.json")
	if err != nil {
		t.Fatal(err)
	}
	tok := learnTokenizer(lessons.text(), 40)
	c := config{vocab: len(tok.pieces), dim: 16, layers: 1, heads: 2, ff: 16, context: 512}
	train := func() []byte {
		r := rand.New(rand.NewPCG(1, 2))
		tr := newTrainer(c, r)
		tr.train(lessons, tok, r, 3, 16, io.Discard)
		return encodeGGUF(metadata(c, tok), tr.w.tensors(c))
	}
	if !reflect.DeepEqual(train(), train()) {
		t.Error("two trainings give different bytes")
	}
}
