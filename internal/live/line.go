package live

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

const documentKey = "chroma:document" // where Chroma keeps a record's document among its metadata

// emit writes a record's line; nil, a deleted one, has none.
func (e *exporter) emit(ctx context.Context, r *record) error {
	if r == nil {
		return nil
	}
	v, err := e.vector(ctx, r.id)
	if err != nil {
		return fmt.Errorf("record %s: %w", r.id, err)
	}
	e.counts.Records++
	if v == nil {
		e.counts.NoVector++
	}
	b := e.line[:0]
	for _, f := range []struct{ key, value string }{
		{`{"tenant":`, e.c.tenant}, {`,"database":`, e.c.database}, {`,"collection":`, e.c.name}, {`,"id":`, r.id},
	} {
		b = appendString(append(b, f.key...), f.value)
	}
	b = append(b, `,"document":`...)
	if document, ok := r.metadata[documentKey].(string); ok {
		b = appendString(b, document)
	} else {
		b = append(b, "null"...)
	}
	delete(r.metadata, documentKey)
	b = append(b, `,"metadata":{`...)
	for i, key := range slices.Sorted(maps.Keys(r.metadata)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(append(appendString(b, key), ':'), r.metadata[key])
	}
	b = append(b, `},"embedding":`...)
	b = append(appendVector(b, v), "}\n"...)
	e.line = b
	_, err = e.out.Write(b)
	return err
}

// vector returns the newest vector of an id, or nil.
func (e *exporter) vector(ctx context.Context, id string) ([]float32, error) {
	seq, queued := e.queue.vectors[id]
	if !queued {
		if e.segment == nil {
			return nil, nil
		}
		return e.segment.vector(id)
	}
	if seq == 0 {
		return nil, nil
	}
	var b []byte
	var encoding string
	if err := e.db.QueryRowContext(ctx, "SELECT vector, encoding FROM embeddings_queue WHERE seq_id = ?", seq).Scan(&b, &encoding); err != nil {
		return nil, err
	}
	v := float32s(b)
	if encoding == "INT32" {
		for i := range v {
			v[i] = float32(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
	}
	return v, nil
}

func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.Encode(s) // of a string never fails
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v, 64)
	case bool:
		return strconv.AppendBool(b, v)
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, v[i])
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

func appendVector(b []byte, v []float32) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, float64(v[i]), 32)
	}
	return append(b, ']')
}

// appendFloat writes the shortest text that reads back as the same number and as no whole one. JSON has no infinities.
func appendFloat(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, bits)
	if !bytes.ContainsAny(b[start:], ".e") {
		b = append(b, ".0"...)
	}
	return b
}
