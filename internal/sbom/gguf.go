package sbom

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// licensed are the licence names that model cards use and that mean exactly one licence of the SPDX list.
var licensed = map[string]string{
	"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
	"cc0-1.0": "CC0-1.0", "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0", "mpl-2.0": "MPL-2.0",
}

// maxGGUF is how far into a model its licence is looked for, in bytes: metadata stands at the start.
const maxGGUF = 16 << 20

var errNoLicense = errors.New("no licence")

// ModelLicense reads the licence that a model in GGUF (version 2 or 3) names in its metadata, general.license. A file that
// names none, or is something else, gives an empty License.
func ModelLicense(r io.Reader) License {
	g := gguf{bufio.NewReader(io.LimitReader(r, maxGGUF))}
	name, err := g.license()
	if name = strings.TrimSpace(name); err != nil || name == "" || len(name) > 200 {
		return License{}
	}
	if id, ok := licensed[strings.ToLower(name)]; ok {
		return License{Expression: id}
	}
	text := fmt.Sprintf("The model's metadata name this licence, %q, and do not give its text.", name)
	l := License{Texts: map[string]string{}}
	l.Expression = copyrightFile{map[string]string{strings.ToLower(name): text}}.ref(name, l.Texts)
	return l
}

type gguf struct{ *bufio.Reader }

// license walks the metadata up to the licence.
func (g gguf) license() (string, error) {
	var head struct {
		Magic           [4]byte
		Version         uint32
		Tensors, Values uint64
	}
	if err := binary.Read(g, binary.LittleEndian, &head); err != nil {
		return "", err
	}
	if string(head.Magic[:]) != "GGUF" || head.Version < 2 || head.Version > 3 {
		return "", errNoLicense
	}
	for range head.Values {
		key, err := g.text()
		if err != nil {
			return "", err
		}
		kind, err := g.number(4)
		if err != nil {
			return "", err
		}
		if key == "general.license" && kind == ggufString {
			return g.text()
		}
		if err := g.skip(kind, true); err != nil {
			return "", err
		}
	}
	return "", errNoLicense
}

const ggufString, ggufArray = 8, 9

// ggufSize are the bytes of a value by its type.
var ggufSize = map[uint64]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// skip passes over a value.
func (g gguf) skip(kind uint64, arrays bool) error {
	switch {
	case kind == ggufString:
		n, err := g.number(8)
		if err != nil {
			return err
		}
		return g.pass(n)
	case kind == ggufArray && arrays:
		of, err := g.number(4)
		if err != nil {
			return err
		}
		count, err := g.number(8)
		if err != nil || count > maxGGUF {
			return errors.Join(err, errNoLicense)
		}
		if size := ggufSize[of]; size > 0 {
			return g.pass(size * count)
		}
		for range count {
			if err := g.skip(of, false); err != nil {
				return err
			}
		}
		return nil
	case ggufSize[kind] == 0:
		return errNoLicense
	}
	return g.pass(ggufSize[kind])
}

func (g gguf) pass(n uint64) error {
	if n > 8*maxGGUF {
		return errNoLicense
	}
	_, err := g.Discard(int(n))
	return err
}

// number reads an unsigned integer of so many bytes.
func (g gguf) number(size int) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(g, b[:size])
	return binary.LittleEndian.Uint64(b[:]), err
}

// text reads a short string.
func (g gguf) text() (string, error) {
	n, err := g.number(8)
	if err != nil || n > 64<<10 {
		return "", errors.Join(err, errNoLicense)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(g, b)
	return strings.ToValidUTF8(string(b), "\uFFFD"), err
}
