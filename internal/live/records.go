package live

import (
	"bufio"
	"context"
	"database/sql"
	"maps"
	"path/filepath"
	"slices"
)

// record is one record but for its vector.
type record struct {
	id       string
	metadata map[string]any // string, int64, float64, bool or a list of them
}

// exporter writes one collection.
type exporter struct {
	db      *sql.DB
	c       collection
	out     *bufio.Writer
	counts  *Counts
	arrays  bool
	segment *segment
	queue   *queue
	line    []byte
}

// run writes the records of the metadata segment in the order of their ids, with those among them that the queue changes.
func (e *exporter) run(ctx context.Context, dir string) (err error) {
	if e.segment, err = openSegment(filepath.Join(dir, e.c.vectors), e.c.cosine); err != nil {
		return err
	}
	defer e.segment.Close()
	if e.queue, err = e.readQueue(ctx); err != nil {
		return err
	}
	changed := slices.Sorted(maps.Keys(e.queue.records))
	err = e.stored(ctx, "", func(r record) error {
		for ; len(changed) > 0 && changed[0] < r.id; changed = changed[1:] {
			if err := e.emit(ctx, e.queue.records[changed[0]]); err != nil {
				return err
			}
		}
		if len(changed) > 0 && changed[0] == r.id {
			changed = changed[1:]
			return e.emit(ctx, e.queue.records[r.id])
		}
		return e.emit(ctx, &r)
	})
	for ; err == nil && len(changed) > 0; changed = changed[1:] {
		err = e.emit(ctx, e.queue.records[changed[0]])
	}
	return err
}

// stored calls f for each record of the metadata segment by id, or for the one with that id.
func (e *exporter) stored(ctx context.Context, id string, f func(record) error) error {
	rows, err := e.db.QueryContext(ctx, `SELECT e.id, e.embedding_id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value
		FROM embeddings e LEFT JOIN embedding_metadata m ON m.id = e.id
		WHERE e.segment_id = ?1 AND (?2 = '' OR e.embedding_id = ?2) ORDER BY e.embedding_id, m.key`, e.c.metadata, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	var now record
	var row int64 = -1
	flush := func() error {
		if row < 0 {
			return nil
		}
		if err := e.addArrays(ctx, row, now.metadata); err != nil {
			return err
		}
		return f(now)
	}
	for rows.Next() {
		var n int64
		var id string
		var key sql.NullString
		var v value
		if err := rows.Scan(&n, &id, &key, &v.text, &v.integer, &v.float, &v.boolean); err != nil {
			return err
		}
		if n != row {
			if err := flush(); err != nil {
				return err
			}
			row, now = n, record{id: id, metadata: map[string]any{}}
		}
		if key.Valid {
			now.metadata[key.String] = v.any()
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return flush()
}

// addArrays adds values that are lists; only newer versions have them.
func (e *exporter) addArrays(ctx context.Context, row int64, metadata map[string]any) error {
	if !e.arrays {
		return nil
	}
	rows, err := e.db.QueryContext(ctx, `SELECT key, string_value, int_value, float_value, bool_value
		FROM embedding_metadata_array WHERE id = ? ORDER BY rowid`, row)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var v value
		if err := rows.Scan(&key, &v.text, &v.integer, &v.float, &v.boolean); err != nil {
			return err
		}
		list, _ := metadata[key].([]any)
		metadata[key] = append(list, v.any())
	}
	return rows.Err()
}

// value is one of four columns.
type value struct {
	text    sql.NullString
	integer sql.NullInt64
	float   sql.NullFloat64
	boolean sql.NullBool
}

func (v value) any() any {
	switch {
	case v.text.Valid:
		return v.text.String
	case v.boolean.Valid: // before the number: early versions filled both
		return v.boolean.Bool
	case v.integer.Valid:
		return v.integer.Int64
	case v.float.Valid:
		return v.float.Float64
	}
	return nil
}
