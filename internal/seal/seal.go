// Package seal encrypts state before it leaves the machine, so that unchanged data need not be encrypted again.
//
// A state repository has one secret, an age identity of its own. Every blob is an age file for that identity; only the
// secret itself is wrapped for people. A change of people therefore costs a few hundred bytes and leaves all blobs as
// they are, and earlier blobs can be used again. docs/encryption.md has the bytes and the ways to open them by hand.
package seal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/agibake/agibake/internal/fault"
)

// Secret opens all blobs of a repository. Nothing prints it: its text form is a fingerprint.
type Secret struct {
	identity *age.X25519Identity
}

// NewSecret makes a secret from the system's randomness.
func NewSecret() (*Secret, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return &Secret{identity}, nil
}

// ID tells secrets apart: the SHA-256, in hex, of the recipient that belongs to the secret (age1…, without a newline).
// It may be shown and signed; neither secret nor recipient follows from it.
func (s Secret) ID() string {
	sum := sha256.Sum256([]byte(s.identity.Recipient().String()))
	return hex.EncodeToString(sum[:])
}

// String names the secret by the start of its ID.
func (s Secret) String() string {
	if s.identity == nil {
		return "no secret"
	}
	return "secret " + s.ID()[:16]
}

// Format prints String for every verb, since %#v and %x would go through to the bytes.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText is String, for JSON, YAML and log records.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Encrypt returns a writer of plaintext, which writes an age file (age-encryption.org/v1) to w. It must be closed, or the
// file lacks its end; w stays open. Each file has a key of its own: equal plaintexts give different files.
func (s *Secret) Encrypt(w io.Writer) (io.WriteCloser, error) {
	e, err := age.Encrypt(w, s.identity.Recipient())
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return e, nil
}

// Decrypt returns a reader of the plaintext of the age file r. A file that is damaged, cut off, continued or for another
// secret is an error of kind fault.Untrusted, here or from the reader; errors of r itself keep their kind. Pieces of
// 64 KiB are authentic as they come, but only io.EOF says that they were all.
func (s *Secret) Decrypt(r io.Reader) (io.Reader, error) {
	src := &source{r: r}
	plain, err := age.Decrypt(src, s.identity)
	if err != nil {
		return nil, src.judge(err)
	}
	return &plaintext{plain, src}, nil
}

type plaintext struct {
	io.Reader
	src *source
}

func (p *plaintext) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = p.src.judge(err)
	}
	return n, err
}

// source keeps the error of a read: a lost connection must not pass for a damaged file.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *source) judge(err error) error {
	if s.err != nil {
		return fmt.Errorf("decrypt: %w", s.err)
	}
	if noMatch(err) {
		return fault.Mark(fault.Untrusted, errors.New("decrypt: it is sealed with another secret"))
	}
	return fmt.Errorf("decrypt: %w", damaged(err))
}

func noMatch(err error) bool {
	var none *age.NoIdentityMatchError
	return errors.As(err, &none)
}

// damaged keeps the start of what age says only: it quotes lines of the file, which may be long.
func damaged(err error) error {
	return fault.Mark(fault.Untrusted, fmt.Errorf("damaged: %.120s", err.Error()))
}
