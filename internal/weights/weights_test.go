package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
)

const greeter = "../../testdata/model/greeter.gguf"

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tensors(t testing.TB, data []byte) []Tensor {
	t.Helper()
	list, err := Tensors(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func safetensors(head, data string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head+data...)
}

// pieces cuts data and returns what lies between.
func pieces(t testing.TB, data []byte, limit int64) (list [][]byte) {
	t.Helper()
	cuts := Cuts(tensors(t, data), int64(len(data)), limit, limit)
	if cuts[0] != 0 || !slices.IsSorted(cuts) {
		t.Fatalf("cuts %v", cuts)
	}
	for i, from := range cuts {
		to := int64(len(data))
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		if to <= from || to-from > limit {
			t.Fatalf("a piece from %d to %d, limit %d", from, to, limit)
		}
		list = append(list, data[from:to])
	}
	return list
}

// TestGreeter reads the model of the demo, which llama.cpp loads in other tests.
func TestGreeter(t *testing.T) {
	data := read(t, greeter)
	list := tensors(t, data)
	if n := binary.LittleEndian.Uint64(data[8:]); uint64(len(list)) != n {
		t.Errorf("%d tensors of %d", len(list), n)
	}
	names := map[string]bool{}
	for i, x := range list {
		names[x.Name] = true
		if x.Offset%32 != 0 || x.Size <= 0 || i > 0 && list[i-1].Offset+list[i-1].Size != x.Offset {
			t.Errorf("%+v", x)
		}
	}
	if last := list[len(list)-1]; last.Offset+last.Size != int64(len(data)) || !names["token_embd.weight"] || !names["blk.0.attn_q.weight"] {
		t.Errorf("%v", names)
	}
}

// TestMetadata: a value begins with its type, and the chat template is text of the length that stands before it.
func TestMetadata(t *testing.T) {
	data := read(t, greeter)
	values, err := Metadata(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(data[16:]); uint64(len(values)) != n {
		t.Errorf("%d values of %d", len(values), n)
	}
	found := false
	for i, v := range values {
		if end := v.Offset - int64(len(v.Key)) - 8; i > 0 && values[i-1].Offset+values[i-1].Size != end {
			t.Errorf("%s does not follow the value before it", v.Key)
		}
		if v.Key == "tokenizer.chat_template" {
			b := data[v.Offset : v.Offset+v.Size]
			found = binary.LittleEndian.Uint32(b) == ggufString && binary.LittleEndian.Uint64(b[4:]) == uint64(len(b)-12) && bytes.Contains(b, []byte("{%-"))
		}
	}
	if last := values[len(values)-1]; !found || last.Offset+last.Size > tensors(t, data)[0].Offset {
		t.Errorf("no chat template, or values over tensors: %+v", values)
	}
	small := safetensors(`{"a":{"data_offsets":[0,4]}}`, "aaaa")
	if values, err := Metadata(bytes.NewReader(small), int64(len(small))); err != nil || values != nil {
		t.Errorf("safetensors: %v, %v", values, err)
	}
}

func TestSafetensors(t *testing.T) {
	list := tensors(t, safetensors(`{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}  `, "aaaabbbbbbbb"))
	if len(list) != 2 || list[0].Name != "a" || list[0].Size != 4 || list[1].Name != "b" || list[1].Size != 8 || list[1].Offset != list[0].Offset+4 {
		t.Errorf("%+v", list)
	}
}

// TestHeaderEdit: a longer header moves all tensors, and yet only the first piece differs.
func TestHeaderEdit(t *testing.T) {
	const data = "aaaabbbbccccccccccccccccdd"
	head := `{"a":{"data_offsets":[0,4]},"b":{"data_offsets":[4,8]},"c":{"data_offsets":[8,24]},"d":{"data_offsets":[24,26]}`
	one := pieces(t, safetensors(head+"}", data), 200)
	other := pieces(t, safetensors(head+`,"__metadata__":{"note":"changed"}}`, data), 200)
	if len(one) != 2 || len(other) != 2 || bytes.Equal(one[0], other[0]) || !bytes.Equal(one[1], other[1]) {
		t.Errorf("%q\n%q", one, other)
	}
	small := pieces(t, safetensors(head+"}", data), 9)
	var got []string
	for _, p := range small[len(small)-4:] {
		got = append(got, string(p))
	}
	if want := []string{"aaaabbbb", "ccccccccc", "ccccccc", "dd"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	for _, limit := range []int64{1 << 10, 64 << 10, 1 << 20, 1 << 30} {
		if all := pieces(t, read(t, greeter), limit); !bytes.Equal(bytes.Join(all, nil), read(t, greeter)) {
			t.Errorf("limit %d: the pieces are not the file", limit)
		}
	}
}

func TestDamaged(t *testing.T) {
	whole := read(t, greeter)
	first := tensors(t, whole)[0].Offset
	gguf := func(change func([]byte)) []byte {
		data := bytes.Clone(whole)
		change(data)
		return data
	}
	for name, data := range map[string][]byte{
		"empty":              {},
		"text":               []byte("just a text of some length"),
		"cut header":         whole[:first/2],
		"only a header":      whole[:first],
		"version 1":          gguf(func(d []byte) { d[4] = 1 }),
		"tensors":            gguf(func(d []byte) { d[15] = 1 }),
		"values":             gguf(func(d []byte) { d[23] = 1 }),
		"endless key":        gguf(func(d []byte) { d[31] = 0x7f }),
		"header too long":    safetensors(`{}`, "")[:8],
		"JSON":               safetensors(`{"a":}`, "aaaa"),
		"no offsets":         safetensors(`{"a":{"dtype":"U8"}}`, "aaaa"),
		"turned":             safetensors(`{"a":{"data_offsets":[4,0]}}`, "aaaa"),
		"over the end":       safetensors(`{"a":{"data_offsets":[0,5]}}`, "aaaa"),
		"one over the other": safetensors(`{"a":{"data_offsets":[0,3]},"b":{"data_offsets":[2,4]}}`, "aaaa"),
	} {
		if list, err := Tensors(bytes.NewReader(data), int64(len(data))); !errors.Is(err, ErrFormat) || list != nil {
			t.Errorf("%s: %v, %d tensors", name, err, len(list))
		}
	}
}

func FuzzTensors(f *testing.F) {
	data, err := os.ReadFile(greeter)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:64<<10])
	f.Add(safetensors(`{"a":{"data_offsets":[0,4]}}`, "aaaa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Tensors(bytes.NewReader(data), int64(len(data)))
		values, again := Metadata(bytes.NewReader(data), int64(len(data)))
		if (err == nil) != (again == nil) {
			t.Fatalf("tensors: %v, metadata: %v", err, again)
		}
		if err != nil {
			if list != nil || values != nil {
				t.Fatal("both a result and an error")
			}
			return
		}
		for _, v := range values {
			if v.Offset < 4 || v.Size < 4 || v.Offset+v.Size > int64(len(data)) {
				t.Fatalf("%+v of %d bytes", v, len(data))
			}
		}
		if len(data) > 0 {
			pieces(t, data, 1<<10)
		}
		at := int64(-1)
		for _, x := range list {
			if at >= 0 && x.Offset != at || x.Offset < 0 || x.Size < 0 || x.Offset+x.Size > int64(len(data)) {
				t.Fatalf("%+v", list)
			}
			at = x.Offset + x.Size
		}
	})
}
