package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// loader reads a file and what it extends into one tree.
type loader struct {
	faults Faults
	vars   variables
	budget int
	files  []string // in reading order
}

// load reads the file at path. chain holds the files that led here, by their real paths. The error is that of the
// file itself; faults inside it are collected.
func (l *loader) load(path string, chain []string) (*node, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	l.files = append(l.files, path)
	top := l.parse(path, data)
	if top == nil {
		return nil, nil
	}
	l.header(top)
	parent := l.extend(top, append(slices.Clip(chain), realPath(path)))
	top.drop("extends")
	if parent == nil {
		return top, nil
	}
	return merge(parent, top), nil
}

// extend loads what top extends, or nil.
func (l *loader) extend(top *node, chain []string) *node {
	e := top.child("extends")
	if e.null() || e.kind != yaml.ScalarNode {
		if !e.null() {
			l.faults.add(e.at, "", "extends: expected text, found %s", e.words())
		}
		return nil
	}
	name, ok := l.vars.expand(e, &l.faults)
	if !ok {
		return nil
	}
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(filepath.Dir(top.at.File), name)
	}
	real := realPath(path)
	if i := slices.Index(chain, real); i >= 0 {
		var names []string
		for _, c := range append(chain[i:len(chain):len(chain)], real) {
			names = append(names, filepath.Base(c))
		}
		l.faults.add(e.at, "", "extends goes in a circle: %s", strings.Join(names, " → "))
		return nil
	}
	if len(chain) >= maxChain {
		l.faults.add(e.at, "", "extends: more than %d files extend each other", maxChain)
		return nil
	}
	parent, err := l.load(path, chain)
	if err != nil {
		l.faults.add(e.at, "", "extends: %s", reason(path, err))
	}
	return parent
}

// header checks what each file must say by itself.
func (l *loader) header(top *node) {
	for _, want := range [][2]string{{"apiVersion", APIVersion}, {"kind", Kind}} {
		key, value := want[0], want[1]
		switch n := top.child(key); {
		case n.null():
			l.faults.add(top.at, "write "+key+": "+value, "missing key %q", key)
		case n.kind != yaml.ScalarNode || n.text != value:
			l.faults.add(n.at, "write "+value, "%s: expected %q, found %s", key, value, n.words())
		}
	}
}

// parse reads exactly one YAML document that is a mapping; nil means that it is none.
func (l *loader) parse(path string, data []byte) *node {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		l.faults.add(Place{path, 1, 1}, "agibake init writes a recipe to start from", "the file is empty")
		return nil
	}
	if err == nil {
		if err = d.Decode(&second); err == nil {
			l.faults.add(Place{path, second.Line, second.Column}, "", "a recipe is one YAML document; a second one begins here")
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.syntax(path, err)
		return nil
	}
	before := len(l.faults)
	c := converter{path, &l.faults, &l.budget}
	top := c.convert(doc.Content[0], 0)
	if top != nil && top.kind != yaml.MappingNode {
		l.faults.add(top.at, "", "expected keys with values, found %s", top.words())
		return nil
	}
	if top == nil && len(l.faults) == before {
		l.faults.add(Place{path, 1, 1}, "", "the recipe is too large")
	}
	return top
}

// The reader's parser, unlike its scanner, counts lines from 0. These are the messages of the parser.
var parserError = regexp.MustCompile(`^did not find expected (key|node content|',' or|'-' indicator|<)`)

var syntaxError = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

// syntax reports an error of the YAML reader, which knows lines at most.
func (l *loader) syntax(path string, err error) {
	text, line := err.Error(), 1
	if m := syntaxError.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	hint := ""
	if parserError.MatchString(text) {
		line++
		hint = "check the indentation, and put text with any of { } [ ] , : # in quotes"
	}
	l.faults.add(Place{path, line, 1}, hint, "not YAML: %s", text)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return data, err
}

// realPath names a file regardless of how it was reached.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// reason says in few words why a file cannot be used.
func reason(path string, err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return path + ": " + p.Err.Error()
	}
	return err.Error()
}
