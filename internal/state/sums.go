package state

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
)

// The lists of sums in an archive, as md5sum and sha256sum (coreutils) write and check them.
const (
	MD5List    = "MD5SUMS"
	SHA256List = "SHA256SUMS"
)

// listOf tells which sums a list of a name holds, "" if it is none. People call them in many ways.
func listOf(name string) string {
	switch strings.TrimSuffix(strings.ToLower(path.Base(name)), ".txt") {
	case "md5sums", "md5sum", "md5":
		return MD5List
	case "sha256sums", "sha256sum", "sha256":
		return SHA256List
	}
	return ""
}

// sums passes bytes on and hashes them twice on the way, each on a processor of its own.
type sums struct {
	to          io.Writer
	md5, sha256 hash.Hash
}

func newSums(to io.Writer) *sums { return &sums{to, md5.New(), sha256.New()} }

const sumStep = 1 << 20 // bytes at once

// Write implements io.Writer.
func (s *sums) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		step := p[:min(len(p), sumStep)]
		p = p[len(step):]
		var done chan struct{}
		if len(step) >= 64<<10 { // below that another goroutine costs more
			done = make(chan struct{})
			go func() {
				defer close(done)
				s.md5.Write(step)
			}()
		} else {
			s.md5.Write(step)
		}
		s.sha256.Write(step)
		var k int
		k, err = s.to.Write(step)
		n += k
		if done != nil {
			<-done
		}
	}
	return n, err
}

// sumList is a list of sums in the making.
type sumList struct{ bytes.Buffer }

func (l *sumList) add(sum []byte, name string) {
	escaped := listEscape.Replace(name)
	if escaped != name {
		l.WriteByte('\\')
	}
	fmt.Fprintf(l, "%x  %s\n", sum, escaped)
}

var (
	listEscape   = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	listUnescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r")
)

// listed is a line of a list.
type listed struct {
	sum  []byte
	name string
}

const maxListLine = 3 * maxPath

// readList reads a list of sums of a size in bytes. Empty lines and comments count for nothing.
func readList(r io.Reader, size int) (all []listed, err error) {
	in := bufio.NewReaderSize(r, maxListLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return all, nil
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		l, ok := parseListed(text, size)
		if !ok {
			return nil, fmt.Errorf("line %d: %.80q is no sum with a name", n, text)
		}
		all = append(all, l)
	}
}

func parseListed(text string, size int) (l listed, ok bool) {
	text, escaped := strings.CutPrefix(text, `\`)
	sum, rest, ok := strings.Cut(text, " ")
	var err error
	if l.sum, err = hex.DecodeString(sum); !ok || err != nil || len(l.sum) != size || len(rest) < 2 || !slices.Contains([]byte(" *"), rest[0]) {
		return l, false
	}
	if l.name = rest[1:]; escaped {
		l.name = listUnescape.Replace(l.name)
	}
	return l, true
}
