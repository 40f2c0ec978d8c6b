package live

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chromaSchema is what the export reads of Chroma's tables (chroma-core/chroma, rust/sqlite/migrations).
const chromaSchema = `
CREATE TABLE databases (id TEXT PRIMARY KEY, name TEXT, tenant_id TEXT);
CREATE TABLE collections (id TEXT PRIMARY KEY, name TEXT, dimension INTEGER, database_id TEXT, config_json_str TEXT);
CREATE TABLE collection_metadata (collection_id TEXT, key TEXT, str_value TEXT, int_value INTEGER, float_value REAL, bool_value INTEGER);
CREATE TABLE segments (id TEXT PRIMARY KEY, type TEXT, scope TEXT, collection TEXT);
CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id TEXT, embedding_id TEXT, seq_id BLOB, UNIQUE (segment_id, embedding_id));
CREATE TABLE embedding_metadata (id INTEGER, key TEXT, string_value TEXT, int_value INTEGER, float_value REAL, bool_value INTEGER, PRIMARY KEY (id, key));
CREATE TABLE embedding_metadata_array (id INTEGER, key TEXT, string_value TEXT, int_value INTEGER, float_value REAL, bool_value INTEGER);
CREATE TABLE max_seq_id (segment_id TEXT PRIMARY KEY, seq_id INTEGER);
CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, operation INTEGER, topic TEXT, id TEXT, vector BLOB, encoding TEXT, metadata TEXT);
INSERT INTO databases VALUES ('d', 'db', 'te');
INSERT INTO collections VALUES ('c', 'one', 2, 'd', '{"vector_index":{"hnsw":{"space":"cosine"}}}'), ('e', 'empty', NULL, 'd', NULL);
INSERT INTO segments VALUES ('meta', '', 'METADATA', 'c'), ('vec', '', 'VECTOR', 'c');
INSERT INTO embeddings VALUES (1, 'meta', 'a', 1), (2, 'meta', 'b', 2), (3, 'meta', 'd', 3), (4, 'meta', 'lost', 4);
INSERT INTO embedding_metadata VALUES (1, 'chroma:document', 'A<', NULL, NULL, NULL), (1, 'f', NULL, NULL, 2.0, NULL), (1, 'i', NULL, 7, NULL, NULL),
	(2, 'b', NULL, NULL, NULL, 1), (2, 'gone', 'x', NULL, NULL, NULL);
INSERT INTO embedding_metadata_array VALUES (3, 'list', 'y', NULL, NULL, NULL), (3, 'list', 'x', NULL, NULL, NULL);
INSERT INTO max_seq_id VALUES ('meta', 4), ('vec', x'0000000000000003');
INSERT INTO embeddings_queue VALUES
	(3, 0, 'x://t/n/c', 'd', x'0000803f0000803f', 'FLOAT32', '{}'),
	(5, 1, 'x://t/n/c', 'b', NULL, NULL, '{"gone":null,"new":1.5,"chroma:document":"B"}'),
	(6, 0, 'x://t/n/c', 'c', x'000040400000803f', 'FLOAT32', '{"n":3,"f":1e1}'),
	(7, 2, 'x://t/n/c', 'd', x'0000003f0000803f', 'FLOAT32', NULL),
	(8, 3, 'x://t/n/c', 'a', NULL, NULL, '{}'),
	(9, 0, 'x://t/n/c', 'a', x'0100000002000000', 'INT32', '{"back":true}'),
	(10, 0, 'x://t/n/c', 'b', x'0000803f0000803f', 'FLOAT32', '{"ignored":1}'),
	(11, 1, 'x://t/n/c', 'nobody', x'0000803f0000803f', 'FLOAT32', '{}'),
	(12, 0, 'x://t/n/other', 'z', x'0000803f0000803f', 'FLOAT32', '{}');`

const chromaWant = `{"tenant":"te","database":"db","collection":"one","id":"a","document":null,"metadata":{"back":true},"embedding":[1.0,2.0]}
{"tenant":"te","database":"db","collection":"one","id":"b","document":"B","metadata":{"b":true,"new":1.5},"embedding":[3.0,4.0]}
{"tenant":"te","database":"db","collection":"one","id":"c","document":null,"metadata":{"f":10.0,"n":3},"embedding":[3.0,1.0]}
{"tenant":"te","database":"db","collection":"one","id":"d","document":null,"metadata":{"list":["y","x"]},"embedding":[0.5,1.0]}
{"tenant":"te","database":"db","collection":"one","id":"lost","document":null,"metadata":{},"embedding":null}
`

// pickled is {"max_seq_id": None, "id_to_label": {"a": 2, "b": 1, "d": 300}} as Chroma writes it, and as an object of its
// Python versions, which CPython 3.11 made.
var pickled = []string{
	"\x80\x03}(X\x0a\x00\x00\x00max_seq_idNX\x0b\x00\x00\x00id_to_label}(X\x01\x00\x00\x00aJ\x02\x00\x00\x00X\x01\x00\x00\x00bK\x01X\x01\x00\x00\x00dM\x2c\x01uu.",
	"\x80\x04\x95\x5a\x00\x00\x00\x00\x00\x00\x00\x8c\x01m\x94\x8c\x0ePersistentData\x94\x93\x94)\x81\x94}\x94(\x8c\x0amax_seq_id\x94N\x8c\x0bid_to_label\x94}\x94(\x8c\x01a\x94K\x02\x8c\x01b\x94K\x01\x8c\x01d\x94M\x2c\x01uub.",
}

// fakeChroma makes a database with an index of two-dimensional vectors.
func fakeChroma(t *testing.T, dir, pickle string) {
	t.Helper()
	check(t, os.MkdirAll(dir+"/vec", 0o755))
	db, err := openSQLite(filepath.Join(dir, chromaFile), url.Values{})
	check(t, err)
	_, err = db.Exec(chromaSchema)
	check(t, err)
	check(t, db.Close())
	u64 := binary.LittleEndian.AppendUint64
	header := binary.LittleEndian.AppendUint32(nil, 1)
	for _, n := range []uint64{0, 10, 3, 20, 12, 4} { // elements: 4 bytes of links, the vector, the label
		header = u64(header, n)
	}
	var level0, length []byte
	for i, v := range [][2]float32{{1, 0}, {0.6, 0.8}, {0, 1}} {
		level0 = append(level0, 0, 0, 0, 0)
		for _, f := range v {
			level0 = binary.LittleEndian.AppendUint32(level0, math.Float32bits(f))
		}
		level0 = u64(level0, []uint64{2, 1, 300}[i])
		length = binary.LittleEndian.AppendUint32(length, math.Float32bits(5))
	}
	write(t, dir+"/vec/header.bin", string(header)+strings.Repeat("\x00", 48))
	write(t, dir+"/vec/data_level0.bin", string(level0))
	write(t, dir+"/vec/length.bin", string(length))
	write(t, dir+"/vec/link_lists.bin", "")
	write(t, dir+"/vec/"+indexMetadata, pickle)
}

// TestExport applies what the queue has beyond the segments, each in its own measure.
func TestExport(t *testing.T) {
	for _, p := range pickled {
		dir := t.TempDir()
		fakeChroma(t, dir, p)
		var b bytes.Buffer
		n, err := ExportChroma(t.Context(), dir, &b)
		check(t, err)
		if n != (Counts{2, 5, 1}) || b.String() != chromaWant {
			t.Errorf("%+v\n%s", n, b.String())
		}
	}
}

func TestExportOfADamagedIndex(t *testing.T) {
	for name, text := range map[string]string{
		indexMetadata: pickled[0][:40], "header.bin": "\x02", "data_level0.bin": "short",
	} {
		dir := t.TempDir()
		fakeChroma(t, dir, pickled[0])
		write(t, dir+"/vec/"+name, text)
		if _, err := ExportChroma(t.Context(), dir, new(bytes.Buffer)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStageOfAHalfWrittenIndex is captured at last, and says so.
func TestStageOfAHalfWrittenIndex(t *testing.T) {
	root := t.TempDir()
	fakeChroma(t, root+"/memory/chroma", pickled[0])
	files := []string{"memory/chroma/chroma.sqlite3", "memory/chroma/vec/header.bin", "memory/chroma.export.jsonl"}
	write(t, root+"/memory/chroma.export.jsonl", "from before\n")
	s, err := Stage(t.Context(), root, files, t.TempDir(), noDocker)
	check(t, err)
	if s.Attempts != 1 || len(s.Warnings) != 1 || len(s.Files) != 7 || s.Chroma[0].Records != 5 {
		t.Errorf("%+v", s)
	}
	for _, age := range []time.Duration{0, time.Hour} {
		now := time.Now().Add(-age)
		check(t, os.Chtimes(root+"/memory/chroma/vec/"+indexMetadata, now, now.Add(-time.Minute)))
		check(t, os.Chtimes(root+"/memory/chroma/vec/header.bin", now, now))
		for _, name := range []string{"data_level0.bin", "length.bin", "link_lists.bin"} {
			check(t, os.Chtimes(root+"/memory/chroma/vec/"+name, now, now.Add(-time.Minute)))
		}
		if why := unsettled(root + "/memory/chroma"); (why == "") != (age > 0) {
			t.Errorf("after %v: %q", age, why)
		}
	}
	write(t, root+"/memory/chroma/vec/"+indexMetadata, pickled[0][:40])
	s, err = Stage(t.Context(), root, files, t.TempDir(), noDocker)
	check(t, err)
	if s.Attempts != attempts || len(s.Warnings) != 2 || s.Chroma[0].Export != "" || len(s.Files) != 6 {
		t.Errorf("%+v", s)
	}
}

// FuzzUnpickle: no input harms, and Chroma's own is read.
func FuzzUnpickle(f *testing.F) {
	for _, p := range pickled {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		d, err := unpickle(bytes.NewReader(p))
		if (d == nil) != (err != nil) {
			t.Errorf("%v, %v", d, err)
		}
	})
}
