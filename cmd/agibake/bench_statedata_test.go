package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	b.fillChroma(dir+"/memory/chroma", m.vectors, 1, 0)
}

// change alters about 1 % of each part of the state in dir: one tensor, lines of text in runs and at the end, vectors.
func (m benchMind) change(b *bench, original, dir string) {
	b.Helper()
	b.must(replaceTensor(filepath.Join(dir, benchWeights), m.weights))
	for i, name := range benchTexts {
		b.must(editTalk(filepath.Join(original, name), filepath.Join(dir, name), uint64(i)))
	}
	b.fillChroma(dir+"/memory/chroma", m.vectors, 100, 1)
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
