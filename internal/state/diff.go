package state

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/artifact"
)

// Change is a difference between two snapshots.
type Change struct {
	Path    string   `json:"path"`
	What    string   `json:"what"`              // added, removed, changed, mode
	Before  int64    `json:"before"`            // bytes
	After   int64    `json:"after"`             // bytes
	Records *Records `json:"records,omitempty"` // of what is made of records
}

// Records says which records of a file differ: lines of .jsonl by their "id" if they have one, keys of .json.
type Records struct {
	Added   int      `json:"added"`
	Removed int      `json:"removed"`
	Changed int      `json:"changed"`
	Some    []string `json:"some"` // the first of them, each with +, - or ~ before it
}

const (
	maxSome = 20
	maxJSON = 4 << 20  // bytes of a .json file that is taken apart
	maxLine = 64 << 20 // bytes of a record
	maxKey  = 256      // bytes of what a record is called
)

// Side is one of two snapshots that are compared.
type Side struct {
	*Snapshot
	From artifact.Reader
}

// Diff lists what differs between a and b by path.
func Diff(ctx context.Context, a, b Side) ([]Change, error) {
	d := &differ{ctx: ctx, a: newPieces(a.Snapshot, a.From), b: newPieces(b.Snapshot, b.From)}
	defer d.a.close()
	defer d.b.close()
	old := map[string]*Entry{}
	for i := range a.Tree.Entries {
		old[a.Tree.Entries[i].Path] = &a.Tree.Entries[i]
	}
	var list []Change
	for i := range b.Tree.Entries {
		e := &b.Tree.Entries[i]
		o := old[e.Path]
		delete(old, e.Path)
		c, differs, err := d.entry(o, e)
		if err != nil {
			return nil, err
		}
		if differs {
			list = append(list, c)
		}
	}
	for _, o := range old {
		c, _, err := d.entry(o, nil)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	slices.SortFunc(list, byPath)
	return list, nil
}

type differ struct {
	ctx  context.Context
	a, b *pieces
}

func (d *differ) entry(o, e *Entry) (c Change, differs bool, err error) {
	switch {
	case o == nil:
		c = Change{Path: e.Path, What: "added", After: e.Size}
	case e == nil:
		c = Change{Path: o.Path, What: "removed", Before: o.Size}
	case o.Kind != e.Kind || o.Sum != e.Sum || o.Target != e.Target:
		c = Change{Path: e.Path, What: "changed", Before: o.Size, After: e.Size}
	case o.Mode != e.Mode || o.UID != e.UID || o.GID != e.GID:
		return Change{Path: e.Path, What: "mode", Before: o.Size, After: e.Size}, true, nil
	default:
		return c, false, nil
	}
	if ext := path.Ext(c.Path); ext == ".jsonl" || ext == ".json" {
		c.Records, err = d.records(o, e, ext)
	}
	return c, true, err
}

// records compares what the two files hold. nil if one of them is not what its name says.
func (d *differ) records(o, e *Entry, ext string) (*Records, error) {
	before, err := recordsOf(d.ctx, d.a, o, ext)
	if err != nil {
		return nil, err
	}
	after, err := recordsOf(d.ctx, d.b, e, ext)
	if err != nil || before == nil || after == nil {
		return nil, err
	}
	r := &Records{}
	note := func(mark, key string) {
		if len(r.Some) < maxSome {
			r.Some = append(r.Some, mark+key)
		}
	}
	for _, key := range after.keys {
		sum, had := before.sums[key]
		switch {
		case !had:
			r.Added++
			note("+", key)
		case sum != after.sums[key]:
			r.Changed++
			note("~", key)
		}
	}
	for _, key := range before.keys {
		if _, has := after.sums[key]; !has {
			r.Removed++
			note("-", key)
		}
	}
	return r, nil
}

// keyed are the records of a file by a key that a person can read, in order.
type keyed struct {
	keys  []string
	sums  map[string]Sum
	times map[string]int // that a key came again
}

func newKeyed() *keyed { return &keyed{sums: map[string]Sum{}, times: map[string]int{}} }

func (k *keyed) add(key string, data []byte) {
	key = short(key)
	if _, taken := k.sums[key]; taken {
		k.times[key]++
		key = fmt.Sprintf("%s #%d", key, k.times[key]+1)
	}
	k.keys = append(k.keys, key)
	k.sums[key] = sumOf(data)
}

// short keeps keys from filling memory: each leaf of JSON repeats those above it.
func short(key string) string {
	if len(key) <= maxKey {
		return key
	}
	return fmt.Sprintf("%s… %x", strings.ToValidUTF8(key[:maxKey/2], ""), sha256.Sum256([]byte(key)))
}

func recordsOf(ctx context.Context, from *pieces, e *Entry, ext string) (*keyed, error) {
	k := newKeyed()
	if e == nil {
		return k, nil
	}
	if e.Kind != File || ext == ".json" && e.Size > maxJSON {
		return nil, nil
	}
	if ext == ".json" {
		var b bytes.Buffer
		if err := from.copy(ctx, e, &b); err != nil {
			return nil, err
		}
		var v any
		if json.Unmarshal(b.Bytes(), &v) != nil {
			return nil, nil
		}
		k.flatten("", v)
		return k, nil
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	defer func() { r.Close(); <-done }() // from is for one at a time
	go func() { defer close(done); w.CloseWithError(from.copy(ctx, e, w)) }()
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		if line := in.Bytes(); len(line) > 0 {
			k.add(keyOf(line), line)
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return nil, nil
	}
	return k, in.Err()
}

// keyOf is what a record is called: its id, with its collection, or else its beginning and its sum.
func keyOf(line []byte) string {
	var v struct {
		Collection string `json:"collection"`
		ID         any    `json:"id"`
	}
	if json.Unmarshal(line, &v) == nil && v.ID != nil {
		return strings.TrimPrefix(fmt.Sprintf("%s/%v", v.Collection, v.ID), "/")
	}
	sum := sha256.Sum256(line)
	text := []rune(string(line[:min(len(line), 160)]))
	return fmt.Sprintf("%s… %x", string(text[:min(len(text), 40)]), sum[:4])
}

// flatten gives each leaf of a JSON value a key such as modes.RECURSIA.temperature.
func (k *keyed) flatten(at string, v any) {
	at = short(at)
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			k.flatten(strings.TrimPrefix(at+"."+key, "."), value)
		}
		if at == "" {
			slices.Sort(k.keys)
		}
	case []any:
		for i, value := range v {
			k.flatten(fmt.Sprintf("%s[%d]", at, i), value)
		}
	default:
		text, _ := json.Marshal(v)
		k.add(at, text)
	}
}
