package seal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"github.com/agibake/agibake/internal/fault"
	"golang.org/x/crypto/ssh"
)

// Keys are what Open may try.
type Keys struct {
	Identities []string                            // files as age's -i takes them: age, plugin and SSH keys, sealed with a passphrase or not
	Passphrase func(prompt string) (string, error) // asks a person; nil means that nobody is there
	GPG        bool                                // try the secret keys of gpg's agent
	Tell       func(message string)                // shows what a plugin says, as "touch your key"; may be nil
}

// candidate is one identity of a file.
type candidate struct {
	age.Identity
	file string
	asks bool // a person, or a foreign program
}

// Unwrap marks the failures of a key's own, which say nothing about the wrap.
func (c candidate) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := c.Identity.Unwrap(stanzas)
	if c.asks && err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, fault.Mark(fault.Input, err)
	}
	return key, err
}

// candidates reads all identity files, those first that open without a person.
func (k Keys) candidates() ([]candidate, error) {
	var quiet, asking []candidate
	for _, path := range k.Identities {
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read identity: %w", err)
		}
		more, err := k.parse(path, text)
		if err != nil {
			return nil, fmt.Errorf("read identity %s: %w", path, err)
		}
		for _, c := range more {
			c.file = path
			if c.asks {
				asking = append(asking, c)
			} else {
				quiet = append(quiet, c)
			}
		}
	}
	return append(quiet, asking...), nil
}

func (k Keys) parse(path string, text []byte) ([]candidate, error) {
	start := bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(start, []byte("age-encryption.org/")):
		return []candidate{{Identity: &sealedFile{k, path, text, nil}, asks: true}}, nil
	case bytes.HasPrefix(start, []byte(armor.Header)):
		binary, err := readAll(armor.NewReader(bytes.NewReader(text)), maxFile)
		if err != nil {
			return nil, err
		}
		return []candidate{{Identity: &sealedFile{k, path, binary, nil}, asks: true}}, nil
	case bytes.HasPrefix(start, []byte("-----BEGIN")):
		c, err := k.parseSSH(path, text)
		return []candidate{c}, err
	}
	return k.parseLines(text)
}

// parseLines reads age's own identities. Errors show nothing of a line.
func (k Keys) parseLines(text []byte) (list []candidate, err error) {
	err = lines(text, func(line string) error {
		if strings.HasPrefix(line, "AGE-PLUGIN-") {
			identity, err := plugin.NewIdentity(line, k.ui())
			if err != nil {
				return errors.New("a plugin's identity, but damaged")
			}
			list = append(list, candidate{Identity: identity, asks: true})
			return nil
		}
		native, err := age.ParseIdentities(strings.NewReader(line))
		if err != nil || len(native) != 1 {
			return fault.Hint(errors.New("no identity"), "an identity is a file that age-keygen or ssh-keygen writes, with the secret half")
		}
		list = append(list, candidate{Identity: native[0]})
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("no identity in it")
	}
	return list, err
}

func (k Keys) parseSSH(path string, text []byte) (candidate, error) {
	identity, err := agessh.ParseIdentity(text)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		return candidate{Identity: identity}, err
	}
	public := locked.PublicKey
	if public == nil { // the older PEM form keeps it in a file beside
		line, err := readFile(path + ".pub")
		if err != nil {
			return candidate{}, err
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(line); err != nil {
			return candidate{}, fmt.Errorf("read %s.pub: %w", path, err)
		}
	}
	asking, err := agessh.NewEncryptedSSHIdentity(public, text, func() ([]byte, error) {
		passphrase, err := k.ask("passphrase of " + path)
		return []byte(passphrase), err
	})
	return candidate{Identity: asking, asks: true}, err
}

func (k Keys) ask(prompt string) (string, error) {
	if k.Passphrase == nil {
		return "", errors.New("a passphrase is needed, and nobody can be asked")
	}
	return k.Passphrase(prompt)
}

func (k Keys) ui() *plugin.ClientUI {
	return &plugin.ClientUI{
		DisplayMessage: func(_, message string) error {
			if k.Tell == nil {
				return errors.New("nobody listens")
			}
			k.Tell(message)
			return nil
		},
		RequestValue: func(name, prompt string, _ bool) (string, error) { return k.ask(prompt + " (age-plugin-" + name + ")") },
	}
}
