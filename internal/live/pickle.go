package live

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// pair is an entry of a pickled dictionary.
type pair struct{ key, value any }

// dict is a pickled dictionary; big ones are cheaper as lists than as maps.
type dict struct{ pairs []pair }

// get returns the value of a key, or nil.
func (d *dict) get(key string) any {
	for _, p := range d.pairs {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

type mark struct{}

// object is an instance of a class that was pickled: only its attributes are of interest, nothing is called.
type object struct{ state any }

const maxPickleString = 1 << 20 // bytes; Chroma's ids are shorter

// unpickle reads what Chroma writes as index_metadata.pickle: a dictionary of numbers, strings and dictionaries, or in its
// earlier versions an object with such attributes. Format: CPython, Lib/pickletools.py, protocols 2 to 4. Memory is bounded
// by the input's length. Every other content is an error.
func unpickle(r io.Reader) (*dict, error) {
	u := &unpickler{r: bufio.NewReaderSize(r, 256<<10), memo: map[int]any{}}
	for {
		op, err := u.r.ReadByte()
		if err == nil && op == '.' {
			break
		}
		if err == nil {
			err = u.step(op)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("read pickle: %w", err)
		}
	}
	switch v := u.pop().(type) {
	case *dict:
		return v, nil
	case *object:
		if d, ok := v.state.(*dict); ok {
			return d, nil
		}
	}
	return nil, errors.New("read pickle: no dictionary")
}

type unpickler struct {
	r     *bufio.Reader
	stack []any
	memo  map[int]any
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

func (u *unpickler) pop() any {
	if len(u.stack) == 0 {
		return nil
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v
}

// popMark returns what was pushed since the last mark.
func (u *unpickler) popMark() []any {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, ok := u.stack[i].(mark); ok {
			items := u.stack[i+1:]
			u.stack = u.stack[:i]
			return items
		}
	}
	return nil
}

// number reads n little-endian bytes.
func (u *unpickler) number(n int) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(u.r, b[:n])
	return binary.LittleEndian.Uint64(b[:]), err
}

func (u *unpickler) text(widthOfLength int) error {
	n, err := u.number(widthOfLength)
	if err == nil && n > maxPickleString {
		err = errors.New("a string is too long")
	}
	if err != nil {
		return err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(u.r, b)
	u.push(string(b))
	return err
}

func (u *unpickler) set(items []any) error {
	if len(u.stack) == 0 || len(items)%2 != 0 {
		return errors.New("a value without a key")
	}
	d, ok := u.stack[len(u.stack)-1].(*dict)
	if !ok {
		return errors.New("a key outside a dictionary")
	}
	for i := 0; i < len(items); i += 2 {
		d.pairs = append(d.pairs, pair{items[i], items[i+1]})
	}
	return nil
}

// long turns the bytes of LONG1 into a number; Chroma's are not negative and fit.
func (u *unpickler) long() error {
	n, err := u.number(1)
	if err == nil && n > 9 {
		err = errors.New("a number is too long")
	}
	if err != nil {
		return err
	}
	b := make([]byte, 9)
	if _, err := io.ReadFull(u.r, b[:n]); err != nil {
		return err
	}
	if b[8] != 0 || n > 0 && n < 9 && b[n-1] > 127 {
		return errors.New("a number is out of range")
	}
	u.push(int64(binary.LittleEndian.Uint64(b)))
	return nil
}

// decimal reads a number up to the line feed (LONG, INT).
func (u *unpickler) decimal() error {
	line, err := u.r.ReadString('\n')
	if err != nil {
		return err
	}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == 'L') {
		line = line[:len(line)-1]
	}
	n, err := strconv.ParseInt(line, 10, 64)
	u.push(n)
	return err
}
