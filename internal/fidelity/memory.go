package fidelity

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// Memory is what the mind remembers.
type Memory struct {
	Documents   []Document   `json:"documents"`   // below memory/, by path; null if no state folder was given
	Unread      []string     `json:"unread"`      // databases in files, which only their server can read
	Collections []Collection `json:"collections"` // of Chroma; null if no address was given
}

// Document is a file below memory/: JSON lines have records, others are one whole.
type Document struct {
	Path    string   `json:"path"`
	SHA256  string   `json:"sha256,omitempty"`
	Records *Records `json:"records,omitempty"`
}

// memory examines files and vectors. Of b, a baseline's memory or nil, it takes how far to read and what to query.
func (x *examiner) memory(ctx context.Context, b *Memory) (*Memory, error) {
	m := &Memory{}
	if x.target.Root != "" {
		if err := x.documents(ctx, m, b); err != nil {
			return nil, err
		}
	}
	if x.vectors != nil {
		var err error
		if m.Collections, err = x.vectors.examine(ctx, b, x.options); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (x *examiner) documents(ctx context.Context, m *Memory, b *Memory) error {
	root, err := os.OpenRoot(x.target.Root)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer root.Close()
	paths, err := remembered(root, &m.Unread)
	if err != nil {
		return err
	}
	was := map[string]int{}
	if b != nil {
		for _, d := range b.Documents {
			if d.Records != nil {
				was[d.Path] = d.Records.Count
			}
		}
	}
	m.Documents = []Document{}
	for _, p := range paths {
		d, err := document(ctx, root, p, was[p])
		if err != nil {
			return fmt.Errorf("read %s: %w", p, err)
		}
		if d == nil {
			m.Unread = append(m.Unread, p)
			continue
		}
		m.Documents = append(m.Documents, *d)
	}
	slices.Sort(m.Unread)
	return nil
}

// remembered lists the files below memory/, and apart from them the folders of Chroma databases.
func remembered(root *os.Root, databases *[]string) ([]string, error) {
	return files(root, "memory", func(dir string) bool {
		_, err := root.Stat(path.Join(dir, "chroma.sqlite3"))
		if err == nil {
			*databases = append(*databases, dir)
		}
		return err == nil
	})
}

const sqliteMagic = "SQLite format 3\x00"

// document hashes one file; nil is a SQLite database, whose bytes differ between equal copies.
func document(ctx context.Context, root *os.Root, p string, was int) (*Document, error) {
	f, err := root.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a file: %w", os.ErrInvalid)
	}
	if isRecords(p) {
		r, err := lines(ctx, f, was)
		return &Document{Path: p, Records: r}, err
	}
	head := make([]byte, len(sqliteMagic))
	if n, _ := f.ReadAt(head, 0); string(head[:n]) == sqliteMagic || strings.HasSuffix(p, "-wal") || strings.HasSuffix(p, "-shm") || strings.HasSuffix(p, "-journal") {
		return nil, nil
	}
	sums, err := hash(ctx, f, info.Size(), nil, func(int64) {})
	if err != nil {
		return nil, err
	}
	return &Document{Path: p, SHA256: sums[0]}, nil
}

func isRecords(p string) bool {
	return strings.HasSuffix(p, ".jsonl") || strings.HasSuffix(p, ".ndjson")
}
