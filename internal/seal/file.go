package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

const (
	maxPlain = 256      // bytes of an unwrapped secret; it has 75
	maxFile  = 64 << 10 // bytes of a file with keys or recipients
)

// plain is what is wrapped and saved: an age identity file of one line.
func (s *Secret) plain() []byte { return []byte(s.identity.String() + "\n") }

// parseSecret takes exactly what plain returns. Its errors hold nothing of the text: it is secret, or from a stranger.
func parseSecret(text []byte) (*Secret, error) {
	line, ended := strings.CutSuffix(string(text), "\n")
	identity, err := age.ParseX25519Identity(line)
	if err != nil || !ended || identity.String() != line {
		return nil, errors.New("what it holds is no repository secret")
	}
	return &Secret{identity}, nil
}

// Save writes the secret to path, readable by its owner only. It never replaces another secret: that would lose all that
// is sealed with it.
func (s *Secret) Save(path string) error {
	switch old, err := Load(path); {
	case err == nil && old.ID() == s.ID():
		return nil
	case err == nil:
		return fault.Mark(fault.Input, fmt.Errorf("save secret: %s holds another one, %s", path, old))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("save secret: %w", err)
	}
	if err := atomicfile.WriteFile(path, s.plain(), 0o600); err != nil {
		return fmt.Errorf("save secret: %w", err)
	}
	return nil
}

// Load reads a file that Save wrote. Errors are of kind fault.Input; fs.ErrNotExist is kept in them.
func Load(path string) (*Secret, error) {
	s, err := load(path)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("load secret: %w", err))
	}
	return s, nil
}

func load(path string) (*Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.Hint(fmt.Errorf("%s is open to others, mode %04o", path, info.Mode().Perm()), "chmod 600 "+path)
	}
	text, err := readAll(f, maxPlain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s, err := parseSecret(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readAll(f, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// readAll reads to the end, which must come within limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return text, nil
}
