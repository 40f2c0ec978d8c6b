package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"filippo.io/age"
	"github.com/agibake/agibake/internal/fault"
)

// Open unwraps a repository's secret with the first key that fits: those in files, then gpg's, then the passphrase that
// k.Passphrase asks for. Where none fits, the error says for whom the secret is sealed and is of kind fault.Input; wraps
// that are damaged, too large or hold something else make it fault.Untrusted, a gpg that is not installed fault.Missing.
//
// A wrap says nothing about who made it. Before sealing anything with a secret from elsewhere, compare its ID with one
// that is signed or known.
func Open(ctx context.Context, wraps []Wrap, k Keys) (*Secret, error) {
	all, err := survey(wraps)
	if err != nil {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("open secret: %w", err))
	}
	keys, err := k.candidates()
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("open secret: %w", err))
	}
	given := len(keys)
	if data := all.data[KindAge]; data != nil {
		if s := all.tryAge(data, keys); s != nil {
			return s, nil
		}
	}
	if data := all.data[KindGPG]; data != nil && k.GPG {
		given++
		if s := all.keep(openGPG(ctx, data)); s != nil {
			return s, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data := all.data[KindPassphrase]; data != nil && k.Passphrase != nil {
		given++
		if s := all.keep(openPassphrase(data, k)); s != nil {
			return s, nil
		}
	}
	return nil, all.lost(given)
}

// keep returns a secret that was opened, or remembers why it was not.
func (a *sealed) keep(s *Secret, err error) *Secret {
	if err != nil {
		a.causes = append(a.causes, err)
	}
	return s
}

func (a *sealed) tryAge(data []byte, keys []candidate) *Secret {
	for _, c := range keys {
		text, err := unseal(data, c, maxPlain)
		if noMatch(err) {
			continue
		}
		var s *Secret
		if err == nil {
			s, err = secretFrom(text)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", c.file, err)
		}
		if a.keep(s, err) != nil {
			return s
		}
	}
	return nil
}

func openPassphrase(data []byte, k Keys) (*Secret, error) {
	passphrase, err := k.ask("passphrase of the snapshot")
	if err != nil {
		return nil, err
	}
	text, err := openScrypt(data, passphrase, maxPlain)
	if err != nil {
		return nil, err
	}
	return secretFrom(text)
}

// secretFrom is parseSecret for what came out of a wrap.
func secretFrom(text []byte) (*Secret, error) {
	s, err := parseSecret(text)
	return s, fault.Mark(fault.Untrusted, err)
}

// openScrypt opens an age file that is sealed with a passphrase.
func openScrypt(data []byte, passphrase string, limit int64) ([]byte, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fault.Mark(fault.Input, err)
	}
	identity.SetMaxWorkFactor(maxScryptFactor)
	text, err := unseal(data, identity, limit)
	if noMatch(err) {
		return nil, fault.Mark(fault.Input, errors.New("the passphrase is wrong"))
	}
	return text, err
}

// unseal reads a whole age file. Errors are age's NoIdentityMatchError, those that the identity marked, and fault.Untrusted.
func unseal(data []byte, identity age.Identity, limit int64) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(data), identity)
	if err == nil {
		var text []byte
		if text, err = readAll(r, limit); err == nil {
			return text, nil
		}
	}
	if noMatch(err) || fault.KindOf(err) != fault.Failed {
		return nil, err
	}
	return nil, damaged(err)
}
