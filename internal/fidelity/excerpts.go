package fidelity

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	maxExcerpts  = 48
	excerptsEach = 4    // of one file, so that no file speaks for all
	excerptSize  = 2000 // bytes
)

// textKeys are where a record may have its words.
var textKeys = []string{"text", "content", "document", "answer", "message"}

// excerpts returns the beginnings of what the memory has in words, in the order of files.
func excerpts(ctx context.Context, root *os.Root) (list []string, err error) {
	var databases []string
	paths, err := remembered(root, &databases)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		if len(list) == maxExcerpts {
			break
		}
		texts, err := excerpt(ctx, root, p)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		for _, s := range texts {
			if s = strings.TrimSpace(strings.ToValidUTF8(s[:min(len(s), excerptSize)], "")); s != "" && len(list) < maxExcerpts {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

func excerpt(ctx context.Context, root *os.Root, p string) (list []string, err error) {
	plain := strings.HasSuffix(p, ".txt") || strings.HasSuffix(p, ".md")
	if !plain && !isRecords(p) {
		return nil, nil
	}
	f, err := root.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if plain {
		data, err := io.ReadAll(io.LimitReader(f, excerptSize))
		return []string{string(data)}, err
	}
	err = eachLine(ctx, f, func(line []byte) error {
		var record map[string]any
		if json.Unmarshal(line, &record) != nil { // no object: without words, but not wrong
			return nil
		}
		for _, k := range textKeys {
			if s, ok := record[k].(string); ok && s != "" {
				list = append(list, s)
				break
			}
		}
		if len(list) == excerptsEach {
			return errEnough
		}
		return nil
	})
	return list, err
}
