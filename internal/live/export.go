package live

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
)

// Counts says how much an export holds.
type Counts struct {
	Collections int64
	Records     int64
	NoVector    int64 // records whose vector is nowhere: the index was damaged
}

// collection is one of Chroma's, with its segments' ids.
type collection struct {
	id, name, tenant, database string
	metadata, vectors          string // segments
	cosine                     bool
}

// ExportChroma writes the records of a Chroma database to w, one JSON document a line, sorted by tenant, database, collection
// and id; equal records give equal lines:
//
//	{"tenant":…,"database":…,"collection":…,"id":…,"document":…,"metadata":{…},"embedding":[…]}
//
// dir must be a clean copy that nobody uses. No server is needed: rows come from chroma.sqlite3, vectors from there (the
// queue, embeddings_queue) and from the HNSW segments' files; what the queue has and the segments have not is applied as the
// server would. docs/live.md says how. Vectors of collections that measure by cosine are kept by Chroma at length 1 and may
// differ in the last bit from what was put in, once they left the queue. Memory is bounded by ids and queue.
func ExportChroma(ctx context.Context, dir string, w io.Writer) (Counts, error) {
	n, err := exportChroma(ctx, dir, w)
	if err != nil {
		return Counts{}, fmt.Errorf("export %s: %w", dir, err)
	}
	return n, nil
}

func exportChroma(ctx context.Context, dir string, w io.Writer) (n Counts, err error) {
	db, err := openSQLite(filepath.Join(dir, chromaFile), url.Values{"mode": {"ro"}})
	if err != nil {
		return n, err
	}
	defer db.Close()
	db.SetMaxOpenConns(3) // rows are read while others are
	list, err := collections(ctx, db)
	if err != nil {
		return n, err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	for _, c := range list {
		e := &exporter{db: db, c: c, out: out, counts: &n, arrays: hasColumn(db, "embedding_metadata_array", "key")}
		if err := e.run(ctx, dir); err != nil {
			return n, fmt.Errorf("collection %s: %w", c.name, err)
		}
		n.Collections++
	}
	return n, out.Flush()
}

func collections(ctx context.Context, db *sql.DB) ([]collection, error) {
	config, schema := "NULL", "NULL"
	if hasColumn(db, "collections", "config_json_str") {
		config = "c.config_json_str"
	}
	if hasColumn(db, "collections", "schema_str") {
		schema = "c.schema_str"
	}
	rows, err := db.QueryContext(ctx, `SELECT c.id, c.name, d.tenant_id, d.name, `+config+`, `+schema+`,
		(SELECT str_value FROM collection_metadata m WHERE m.collection_id = c.id AND m.key = 'hnsw:space'),
		(SELECT id FROM segments s WHERE s.collection = c.id AND s.scope = 'METADATA'),
		(SELECT id FROM segments s WHERE s.collection = c.id AND s.scope = 'VECTOR')
		FROM collections c JOIN databases d ON d.id = c.database_id ORDER BY d.tenant_id, d.name, c.name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []collection
	for rows.Next() {
		var c collection
		var config, schema, legacy, metadata, vectors sql.NullString
		if err := rows.Scan(&c.id, &c.name, &c.tenant, &c.database, &config, &schema, &legacy, &metadata, &vectors); err != nil {
			return nil, err
		}
		c.metadata, c.vectors = metadata.String, vectors.String
		c.cosine = space(schema.String, config.String, legacy.String) == "cosine"
		list = append(list, c)
	}
	return list, rows.Err()
}

// space returns by what a collection measures. It stands in the schema, the configuration or the metadata of the
// collection, by Chroma's version.
func space(schema, config, legacy string) string {
	var v map[string]any
	if json.Unmarshal([]byte(schema), &v) == nil {
		if keys, _ := v["keys"].(map[string]any); keys != nil {
			if s := find(keys["#embedding"], "space"); s != "" {
				return s
			}
		}
	}
	clear(v)
	if json.Unmarshal([]byte(config), &v) == nil {
		if s := find(v, "space"); s != "" {
			return s
		}
	}
	return legacy
}

// find returns the string under a key, however deep.
func find(v any, key string) string {
	m, _ := v.(map[string]any)
	if s, ok := m[key].(string); ok {
		return s
	}
	for _, deeper := range m {
		if s := find(deeper, key); s != "" {
			return s
		}
	}
	return ""
}
