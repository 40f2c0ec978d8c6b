package mode

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// member is one key of a JSON object, with where it stands in the text.
type member struct {
	key       string
	value     json.RawMessage
	keyAt, at int // bytes from the start of the text
}

// object is a JSON object in its order, so that an edit keeps what it does not know.
type object []member

// parseObject reads the object at an offset of a text that is valid JSON. A repeated key is an error, with its offset:
// readers differ in which one they take.
func parseObject(text []byte, at int) (object, int, error) {
	d := json.NewDecoder(bytes.NewReader(text[at:]))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, at, fmt.Errorf("expected an object {…}")
	}
	var o object
	seen := map[string]bool{}
	for d.More() {
		m := member{keyAt: at + int(d.InputOffset())}
		for bytes.IndexByte([]byte(" \t\r\n,"), text[m.keyAt]) >= 0 {
			m.keyAt++
		}
		t, err := d.Token()
		if err != nil {
			return nil, m.keyAt, err
		}
		m.key, _ = t.(string)
		if err := d.Decode(&m.value); err != nil {
			return nil, m.keyAt, err
		}
		m.at = at + int(d.InputOffset()) - len(m.value)
		if seen[m.key] {
			return nil, m.keyAt, fmt.Errorf("key %.80q stands here twice", m.key)
		}
		seen[m.key] = true
		o = append(o, m)
	}
	return o, 0, nil
}

func (o object) get(key string) *member {
	for i := range o {
		if o[i].key == key {
			return &o[i]
		}
	}
	return nil
}

// with returns o with a key set, in its place if it is there.
func (o object) with(key string, value json.RawMessage) object {
	if m := o.get(key); m != nil {
		m.value = value
		return o
	}
	return append(o, member{key: key, value: value})
}

func (o object) without(key string) object {
	var kept object
	for _, m := range o {
		if m.key != key {
			kept = append(kept, m)
		}
	}
	return kept
}

func (o object) encode() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(m.key))
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// encode is json.Marshal for texts that people read: <, > and & stay.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return json.RawMessage("null")
	}
	return bytes.TrimSpace(b.Bytes())
}
