package seal

import (
	"errors"

	"filippo.io/age"
)

// sealedFile is a file of identities that is sealed with a passphrase, opened when first needed.
type sealedFile struct {
	keys Keys
	path string
	data []byte
	list []candidate
}

func (f *sealedFile) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if f.list == nil {
		if err := f.open(); err != nil {
			return nil, err
		}
	}
	for _, c := range f.list {
		key, err := c.Unwrap(stanzas)
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

func (f *sealedFile) open() error {
	passphrase, err := f.keys.ask("passphrase of " + f.path)
	if err != nil {
		return err
	}
	text, err := openScrypt(f.data, passphrase, maxFile)
	if err != nil {
		return err
	}
	f.list, err = f.keys.parseLines(text)
	return err
}
