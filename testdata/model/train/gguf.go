package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Value types of GGUF version 3 (ggml/docs/gguf.md).
const (
	ggufU32    = 4
	ggufI32    = 5
	ggufF32    = 6
	ggufBool   = 7
	ggufString = 8
	ggufArray  = 9
)

const ggufAlign = 32

type ggufWriter struct{ bytes.Buffer }

func (b *ggufWriter) num(v any) {
	// bytes.Buffer never fails and v is of fixed size.
	_ = binary.Write(b, binary.LittleEndian, v)
}

func (b *ggufWriter) str(s string) {
	b.num(uint64(len(s)))
	b.WriteString(s)
}

func (b *ggufWriter) pair(key string, value any) {
	b.str(key)
	switch v := value.(type) {
	case uint32:
		b.num(uint32(ggufU32))
		b.num(v)
	case float32:
		b.num(uint32(ggufF32))
		b.num(v)
	case bool:
		b.num(uint32(ggufBool))
		b.num(v)
	case string:
		b.num(uint32(ggufString))
		b.str(v)
	case []string:
		b.array(ggufString, len(v))
		for _, s := range v {
			b.str(s)
		}
	case []float32:
		b.array(ggufF32, len(v))
		b.num(v)
	case []int32:
		b.array(ggufI32, len(v))
		b.num(v)
	default:
		panic(fmt.Sprintf("no GGUF type for %T", value))
	}
}

func (b *ggufWriter) array(kind uint32, n int) {
	b.num(uint32(ggufArray))
	b.num(kind)
	b.num(uint64(n))
}

func (b *ggufWriter) pad() {
	for b.Len()%ggufAlign != 0 {
		b.WriteByte(0)
	}
}

// entry is one metadata key and its value.
type entry struct {
	key   string
	value any
}

// encodeGGUF is the model as GGUF version 3 with float32 tensors.
func encodeGGUF(meta []entry, tensors []tensor) []byte {
	var b ggufWriter
	b.WriteString("GGUF")
	b.num(uint32(3))
	b.num(uint64(len(tensors)))
	b.num(uint64(len(meta)))
	for _, e := range meta {
		b.pair(e.key, e.value)
	}
	offset := 0
	for _, t := range tensors {
		b.str(t.name)
		b.num(uint32(len(t.shape)))
		for _, n := range t.shape {
			b.num(uint64(n))
		}
		b.num(uint32(0)) // F32
		b.num(uint64(offset))
		offset += (4*len(t.data) + ggufAlign - 1) / ggufAlign * ggufAlign
	}
	b.pad()
	for _, t := range tensors {
		b.num(t.data)
		b.pad()
	}
	return b.Bytes()
}

// chatTemplate passes on the beginning of the last system prompt and of the last question: the model knows no dialogue.
const chatTemplate = `{%- set ns = namespace(system='', user='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'] -%}
{%- elif message['role'] == 'user' -%}{%- set ns.user = message['content'] -%}
{%- endif -%}
{%- endfor -%}
{%- if ns.system -%}{{ '<|system|>' + (ns.system | trim)[:300] }}{%- endif -%}
{{ '<|user|>' + (ns.user | trim)[:200] + '<|model|>' }}`

// metadata is what llama.cpp needs to know.
func metadata(c config, tok *tokenizer) []entry {
	return []entry{
		{"general.architecture", "llama"},
		{"general.name", "agibake greeter"},
		{"general.basename", "greeter"},
		{"general.description", "A demo model of agibake that answers a few questions in Russian and English."},
		{"general.license", "apache-2.0"},
		{"general.languages", []string{"ru", "en"}},
		{"general.file_type", uint32(0)},
		{"general.quantization_version", uint32(2)},
		{"llama.vocab_size", uint32(c.vocab)},
		{"llama.context_length", uint32(c.context)},
		{"llama.embedding_length", uint32(c.dim)},
		{"llama.block_count", uint32(c.layers)},
		{"llama.feed_forward_length", uint32(c.ff)},
		{"llama.rope.dimension_count", uint32(c.dim / c.heads)},
		{"llama.rope.freq_base", float32(ropeBase)},
		{"llama.attention.head_count", uint32(c.heads)},
		{"llama.attention.head_count_kv", uint32(c.heads)},
		{"llama.attention.layer_norm_rms_epsilon", float32(normEps)},
		{"tokenizer.ggml.model", "llama"},
		{"tokenizer.ggml.pre", "default"},
		{"tokenizer.ggml.tokens", tok.pieces},
		{"tokenizer.ggml.scores", tok.scores},
		{"tokenizer.ggml.token_type", tok.types},
		{"tokenizer.ggml.bos_token_id", uint32(tokBOS)},
		{"tokenizer.ggml.eos_token_id", uint32(tokEOS)},
		{"tokenizer.ggml.unknown_token_id", uint32(tokUnknown)},
		{"tokenizer.ggml.add_bos_token", true},
		{"tokenizer.ggml.add_eos_token", false},
		{"tokenizer.ggml.add_space_prefix", false},
		{"tokenizer.chat_template", chatTemplate},
	}
}

// tensors names the weights as llama.cpp does.
func (w *weights) tensors(c config) []tensor {
	list := []tensor{
		{"token_embd.weight", []int{c.dim, c.vocab}, w.embed},
		{"output_norm.weight", []int{c.dim}, w.norm},
		{"output.weight", []int{c.dim, c.vocab}, w.head},
	}
	square, wide, narrow := []int{c.dim, c.dim}, []int{c.dim, c.ff}, []int{c.ff, c.dim}
	for i, l := range w.layers {
		block := func(name string, shape []int, data []float32) {
			list = append(list, tensor{fmt.Sprintf("blk.%d.%s.weight", i, name), shape, data})
		}
		block("attn_norm", []int{c.dim}, l.attnNorm)
		block("attn_q", square, l.q)
		block("attn_k", square, l.k)
		block("attn_v", square, l.v)
		block("attn_output", square, l.o)
		block("ffn_norm", []int{c.dim}, l.ffnNorm)
		block("ffn_gate", wide, l.gate)
		block("ffn_up", wide, l.up)
		block("ffn_down", narrow, l.down)
	}
	return list
}
