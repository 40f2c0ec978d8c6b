package state

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// escape writes control characters, backslashes, what is not UTF-8, and spaces at either end as \0 and three octal digits:
// read and printf %b of any shell then give the text back.
func escape(s string) string {
	if strings.Trim(s, " ") == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r < ' ' || r == '\\' || r == 0x7f || r == utf8.RuneError && n == 1 || r == ' ' && (i == 0 || i == len(s)-1) {
			fmt.Fprintf(&b, `\0%03o`, s[i])
			n = 1
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i+5 > len(s) || s[i+1] != '0' {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+2:i+5], 8, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 4
	}
	return b.String(), true
}

// lines reads a document of lines of words; the first fault sticks.
type lines struct {
	r      *bufio.Reader
	line   string
	rest   string
	number int
	bad    bool
}

func (l *lines) next() bool {
	text, err := l.r.ReadString('\n')
	l.line, l.rest = strings.TrimSuffix(text, "\n"), strings.TrimSuffix(text, "\n")
	l.number++
	return text != "" && (err == nil || errors.Is(err, io.EOF))
}

func (l *lines) word() string {
	w, rest, _ := strings.Cut(l.rest, " ")
	l.rest = rest
	return w
}

func (l *lines) number32(base int) uint32 {
	n, err := strconv.ParseUint(l.word(), base, 32)
	l.bad = l.bad || err != nil
	return uint32(n)
}

func (l *lines) number64() int64 {
	n, err := strconv.ParseInt(l.word(), 10, 64)
	l.bad = l.bad || err != nil || n == math.MaxInt64
	return n
}

func (l *lines) sum() (s Sum) {
	w := l.word()
	n, err := hex.Decode(s[:], []byte(w[:min(len(w), 2*len(s))]))
	l.bad = l.bad || err != nil || n != len(s) || len(w) != 2*len(s)
	return s
}

// text is the rest of the line.
func (l *lines) text() string {
	s, ok := unescape(l.rest)
	l.bad = l.bad || !ok || s == ""
	return s
}
