package sbom

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

// model is the start of a GGUF file with some metadata before its licence.
func model(license string) []byte {
	b := []byte("GGUF")
	u32 := func(n uint32) { b = binary.LittleEndian.AppendUint32(b, n) }
	u64 := func(n uint64) { b = binary.LittleEndian.AppendUint64(b, n) }
	text := func(s string) {
		u64(uint64(len(s)))
		b = append(b, s...)
	}
	u32(3)
	u64(0)
	u64(5)
	text("a.number")
	u32(4)
	u32(7)
	text("a.list")
	u32(ggufArray)
	u32(6)
	u64(2)
	u64(0)
	text("a.texts")
	u32(ggufArray)
	u32(ggufString)
	u64(2)
	text("x")
	text("yy")
	text("general.name")
	u32(ggufString)
	text("a name")
	text("general.license")
	u32(ggufString)
	text(license)
	return b
}

func TestModelLicense(t *testing.T) {
	for license, want := range map[string]string{"apache-2.0": "Apache-2.0", "MIT": "MIT", "llama2": "LicenseRef-llama2-", "": ""} {
		l := ModelLicense(bytes.NewReader(model(license)))
		if !strings.HasPrefix(l.Expression, want) || (want == "") != (l.Expression == "") {
			t.Errorf("%q: %+v", license, l)
		}
		references(t, l)
	}
	for _, bad := range [][]byte{nil, []byte("GGUF"), model("mit")[:40], []byte("GGML" + strings.Repeat("\x02\x00\x00\x00", 40))} {
		if l := ModelLicense(bytes.NewReader(bad)); l.Expression != "" {
			t.Errorf("%q: %+v", bad, l)
		}
	}
	f, err := os.Open("../../testdata/model/greeter.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l := ModelLicense(f); l.Expression != "" && !grammar(l.Expression) {
		t.Errorf("%+v", l)
	} else {
		t.Logf("the demo's model: %q", l.Expression)
	}
}

func FuzzModelLicense(f *testing.F) {
	f.Add(model("mit"))
	f.Add(model("something else/entirely"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := ModelLicense(bytes.NewReader(data))
		if l.Expression != "" && !grammar(l.Expression) {
			t.Errorf("%q", l.Expression)
		}
		references(t, l)
	})
}
