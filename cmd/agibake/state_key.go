package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/seal"
	"github.com/agibake/agibake/internal/state"
)

// keyring is where this machine keeps the secret of a repository that it seals snapshots for. Who can read it can read
// the state itself, which lies here unsealed.
func keyring(m *minds) (string, error) {
	dir, err := os.UserConfigDir()
	sum := sha256.Sum256([]byte(m.name))
	return filepath.Join(dir, "agibake", "state", hex.EncodeToString(sum[:8])), err
}

// loadSeal returns what is kept for a repository, nil if nothing is.
func loadSeal(m *minds) (*state.Seal, error) {
	dir, err := keyring(m)
	if err != nil {
		return nil, err
	}
	s := &state.Seal{}
	if s.Secret, err = seal.Load(filepath.Join(dir, "secret")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "wraps.json"))
	if err == nil {
		err = json.Unmarshal(data, &s.Wraps)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

func saveSeal(m *minds, s *state.Seal) error {
	dir, err := keyring(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(s.Wraps)
	if err != nil {
		return err
	}
	if err := s.Secret.Save(filepath.Join(dir, "secret")); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, "wraps.json"), data, 0o600)
}

// opener finds the secret of a sealed snapshot: with the keys given, or as it is kept on this machine.
func (a *app) opener(m *minds, keys *keyFlags) state.Opener {
	return func(ctx context.Context, wraps []seal.Wrap) (*seal.Secret, error) {
		if keys == nil || len(keys.identities) == 0 && !keys.passphrase && !keys.gpg {
			if kept, err := loadSeal(m); err != nil {
				return nil, err
			} else if kept != nil {
				return kept.Secret, nil
			}
		}
		k := seal.Keys{Tell: func(text string) { fmt.Fprintln(a.stderr, clean(text)) }}
		if keys != nil {
			k.Identities, k.GPG = keys.identities, keys.gpg
			if keys.passphrase || len(keys.identities) > 0 { // identities may be locked themselves
				k.Passphrase = func(prompt string) (string, error) { return a.passphrase(ctx, prompt, false) }
			}
			if !keys.passphrase {
				wraps = without(wraps, seal.KindPassphrase)
			}
		}
		return seal.Open(ctx, wraps, k)
	}
}

func without(wraps []seal.Wrap, kind string) (list []seal.Wrap) {
	for _, w := range wraps {
		if w.Kind != kind {
			list = append(list, w)
		}
	}
	if len(list) == 0 {
		return wraps
	}
	return list
}

// passphrase gets a passphrase from AGIBAKE_PASSPHRASE or a prompt.
func (a *app) passphrase(ctx context.Context, prompt string, isNew bool) (string, error) {
	if text, ok := os.LookupEnv("AGIBAKE_PASSPHRASE"); ok {
		return text, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		err := fault.Mark(fault.Input, errors.New("a passphrase is needed, and there is no terminal to ask on"))
		return "", fault.Hint(err, "give it in AGIBAKE_PASSPHRASE")
	}
	first, err := a.prompt(ctx, prompt+": ")
	if err == nil && isNew {
		var second []byte
		if second, err = a.prompt(ctx, "once more: "); err == nil && string(first) != string(second) {
			err = fault.Mark(fault.Input, errors.New("the two passphrases differ"))
		}
	}
	return string(first), err
}
