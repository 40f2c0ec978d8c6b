package state

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/chunk"
	"github.com/agibake/agibake/internal/fault"
)

// Blob is a stored blob with the pieces in it.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes as stored
	Packed bool  // a pack of pieces; otherwise one piece as it is
	Pieces []Piece
}

func (b *Blob) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: "application/octet-stream", Digest: b.Digest, Size: b.Size}
}

// raw is the number of bytes of the pieces.
func (b *Blob) raw() (n int64) {
	for _, p := range b.Pieces {
		n += p.Size
	}
	return n
}

// Contents says which blob holds which pieces.
type Contents struct {
	Blobs []Blob
}

const contentsHead = "agibake contents 1\n"

var errContents = fault.Mark(fault.Untrusted, errors.New("the list of contents is damaged"))

// Encode returns the document of the contents (docs/state.md, "Contents").
func (c *Contents) Encode() []byte {
	var b bytes.Buffer
	c.encode(&b)
	return b.Bytes()
}

func (c *Contents) encode(w io.Writer) {
	io.WriteString(w, contentsHead)
	for _, blob := range c.Blobs {
		kind := "raw"
		if blob.Packed {
			kind = "pack"
		}
		fmt.Fprintf(w, "b %d %s %s\n", blob.Size, blob.Digest.Encoded(), kind)
		for _, p := range blob.Pieces {
			fmt.Fprintf(w, "p %d %s\n", p.Size, p.Sum)
		}
	}
}

// DecodeContents reads what Encode wrote, and nothing else. Errors are of kind fault.Untrusted.
func DecodeContents(data []byte) (*Contents, error) {
	r := &lines{r: bufio.NewReader(bytes.NewReader(data))}
	if r.next(); r.line+"\n" != contentsHead {
		return nil, fmt.Errorf("it begins with %.40q: %w", r.line, errContents)
	}
	c := &Contents{}
	for r.next() {
		last := len(c.Blobs) - 1
		switch kind := r.word(); {
		case kind == "b":
			b := Blob{Size: r.number64()}
			sum := r.sum()
			b.Digest = digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum[:]))
			b.Packed = r.word() == "pack"
			c.Blobs = append(c.Blobs, b)
		case kind == "p" && last >= 0:
			c.Blobs[last].Pieces = append(c.Blobs[last].Pieces, Piece{Size: r.number64(), Sum: r.sum()})
		default:
			r.bad = true
		}
		if r.bad {
			return nil, fmt.Errorf("line %d: %.80q: %w", r.number, r.line, errContents)
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if !encodes(data, c.encode) {
		return nil, fmt.Errorf("it is not in the one form that counts: %w", errContents)
	}
	return c, nil
}

func (c *Contents) check() error {
	for _, b := range c.Blobs {
		if b.Size <= 0 || len(b.Pieces) == 0 || !b.Packed && len(b.Pieces) != 1 || b.raw() > maxPackRaw {
			return fmt.Errorf("blob %s: %w", b.Digest, errContents)
		}
		for _, p := range b.Pieces {
			if p.Size <= 0 || p.Size > maxPiece || b.Packed && p.Size > chunk.Max {
				return fmt.Errorf("blob %s: a piece of %d bytes: %w", b.Digest, p.Size, errContents)
			}
		}
	}
	return nil
}
