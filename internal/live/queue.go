package live

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// The operations in embeddings_queue (chroma-core/chroma, rust/sqlite: Operation).
const (
	opAdd = iota
	opUpdate
	opUpsert
	opDelete
)

// queue is what embeddings_queue has beyond the segments: Chroma writes there first and lets its two segments follow, each at
// its own pace.
type queue struct {
	records map[string]*record // beyond the metadata segment; nil is deleted
	vectors map[string]int64   // beyond the vector segment: the seq_id of the newest one; 0 is deleted
}

// readQueue applies the collection's queue as the server would (rust/segment: sqlite_metadata.rs and local_hnsw.rs,
// apply_logs): an add of what is there, or an update of what is not, does nothing.
func (e *exporter) readQueue(ctx context.Context) (*queue, error) {
	q := &queue{records: map[string]*record{}, vectors: map[string]int64{}}
	seenMetadata, err := e.maxSeq(ctx, e.c.metadata)
	if err != nil {
		return nil, err
	}
	seenVectors := int64(0)
	if e.segment != nil { // else the server starts from nothing
		if seenVectors, err = e.maxSeq(ctx, e.c.vectors); err != nil {
			return nil, err
		}
		if seenVectors == 0 {
			seenVectors = e.segment.maxSeq
		}
	}
	rows, err := e.db.QueryContext(ctx, `SELECT seq_id, operation, id, vector IS NOT NULL, metadata FROM embeddings_queue
		WHERE seq_id > ? AND (topic = ? OR topic LIKE '%/' || ?) ORDER BY seq_id`, min(seenMetadata, seenVectors), e.c.id, e.c.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var op int
		var id string
		var hasVector bool
		var metadata sql.NullString
		if err := rows.Scan(&seq, &op, &id, &hasVector, &metadata); err != nil {
			return nil, err
		}
		if seq > seenVectors {
			e.applyVector(q, seq, op, id, hasVector)
		}
		if seq > seenMetadata {
			if err := e.applyMetadata(ctx, q, op, id, metadata.String); err != nil {
				return nil, fmt.Errorf("queue entry %d: %w", seq, err)
			}
		}
	}
	return q, rows.Err()
}

// maxSeq returns up to where in the queue a segment is.
func (e *exporter) maxSeq(ctx context.Context, segment string) (int64, error) {
	var v any
	err := e.db.QueryRowContext(ctx, "SELECT max(seq_id) FROM max_seq_id WHERE segment_id = ?", segment).Scan(&v)
	switch n := v.(type) {
	case int64:
		return n, err
	case []byte: // before 0.5: big-endian
		return int64(binary.BigEndian.Uint64(append(make([]byte, 8), n...)[len(n):])), err
	}
	return 0, err
}

func (e *exporter) applyVector(q *queue, seq int64, op int, id string, hasVector bool) {
	now, queued := q.vectors[id]
	there := now > 0
	if !queued && e.segment != nil {
		_, there = e.segment.ids[id]
	}
	switch {
	case op == opDelete:
		q.vectors[id] = 0
	case hasVector && (op == opUpsert || op == opAdd && !there || op == opUpdate && there):
		q.vectors[id] = seq
	}
}

func (e *exporter) applyMetadata(ctx context.Context, q *queue, op int, id, text string) error {
	now, queued := q.records[id]
	if !queued {
		if err := e.stored(ctx, id, func(r record) error { now = &r; return nil }); err != nil {
			return err
		}
	}
	switch {
	case op == opDelete:
		q.records[id] = nil
		return nil
	case op == opAdd && now != nil, op == opUpdate && now == nil:
		return nil
	case now == nil:
		now = &record{id: id, metadata: map[string]any{}}
	}
	q.records[id] = now
	return now.change(text)
}

// change applies metadata from the queue: values replace, null removes.
func (r *record) change(text string) error {
	if text == "" {
		return nil
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	for key, v := range m {
		if v == nil {
			delete(r.metadata, key)
			continue
		}
		v, err := plainNumber(v)
		if err != nil {
			return fmt.Errorf("metadata %q: %w", key, err)
		}
		r.metadata[key] = v
	}
	return nil
}

// plainNumber turns JSON's numbers into those that the columns have.
func plainNumber(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return v.Float64()
		}
		return v.Int64()
	case []any:
		for i := range v {
			n, err := plainNumber(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = n
		}
	}
	return v, nil
}
