package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"filippo.io/age"
	"github.com/agibake/agibake/internal/fault"
)

// MaxWrap is the most bytes that a wrap may have: some 600 age keys, or 80 large RSA keys.
const MaxWrap = 64 << 10

// Kinds of wraps.
const (
	KindAge        = "age"        // an age file for all of Recipients.Age
	KindPassphrase = "passphrase" // an age file for a passphrase, which must be alone in its file
	KindGPG        = "gpg"        // an OpenPGP message for all of Recipients.GPG
)

const (
	scryptFactor    = 18 // log2 of N: 256 MiB and about a second, the default of age
	maxScryptFactor = 20 // 1 GiB; more in a stranger's file is an attack on memory
)

// Wrap is a repository's secret, sealed for people. The plaintext is the line AGE-SECRET-KEY-1….
type Wrap struct {
	Kind string
	Data []byte // at most MaxWrap bytes, binary, without armor
}

// Recipients are those who may open a repository.
type Recipients struct {
	Age        []string // age1…, ssh-ed25519 …, ssh-rsa …, a plugin's age1NAME1…, or a file (PATH or @PATH) with one a line
	GPG        []string // fingerprints, key ids of 16 digits, or mail addresses of certified keys, all in gpg's keyring
	Passphrase string   // "" means none
}

// Wrap seals the secret for r: at most one wrap of each kind. Errors name the recipient and are of kind fault.Input, or
// fault.Missing where gpg is not installed. Plugins run as age runs them (C2SP, age-plugin), and ctx does not stop them.
func (s *Secret) Wrap(ctx context.Context, r Recipients) ([]Wrap, error) {
	var wraps []Wrap
	for _, kind := range []struct {
		name   string
		wanted bool
		wrap   func() ([]byte, error)
	}{
		{KindAge, len(r.Age) > 0, func() ([]byte, error) { return s.wrapAge(r.Age) }},
		{KindGPG, len(r.GPG) > 0, func() ([]byte, error) { return wrapGPG(ctx, s.plain(), r.GPG) }},
		{KindPassphrase, r.Passphrase != "", func() ([]byte, error) { return s.wrapPassphrase(r.Passphrase, scryptFactor) }},
	} {
		if !kind.wanted {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := kind.wrap()
		if err == nil && len(data) > MaxWrap {
			err = fault.Mark(fault.Input, fmt.Errorf("too many recipients: %d bytes", len(data)))
		}
		if err != nil {
			return nil, fmt.Errorf("wrap secret, %s: %w", kind.name, err)
		}
		wraps = append(wraps, Wrap{kind.name, data})
	}
	if len(wraps) == 0 {
		return nil, fault.Mark(fault.Input, errors.New("wrap secret: no recipient is named"))
	}
	return wraps, nil
}

func (s *Secret) wrapAge(names []string) ([]byte, error) {
	recipients, err := parseRecipients(names)
	if err != nil {
		return nil, fault.Mark(fault.Input, err)
	}
	return s.sealFor(recipients...)
}

func (s *Secret) wrapPassphrase(passphrase string, factor int) ([]byte, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	r.SetWorkFactor(factor)
	return s.sealFor(r)
}

func (s *Secret) sealFor(recipients ...age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipients...)
	if err != nil { // a plugin that fails, or kinds of recipients that age keeps apart
		return nil, fault.Mark(fault.Input, err)
	}
	if _, err := w.Write(s.plain()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
