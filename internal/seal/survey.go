package seal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/agibake/agibake/internal/fault"
)

const maxWraps = 16

// sealed is what there is to open, and why it did not open.
type sealed struct {
	data   map[string][]byte // by kind, the undamaged ones
	words  []string          // for whom
	flags  []string          // that give a key
	causes []error
}

// survey looks at wraps without a key.
func survey(wraps []Wrap) (*sealed, error) {
	if len(wraps) == 0 || len(wraps) > maxWraps {
		return nil, fmt.Errorf("%d wraps of it, not 1 to %d", len(wraps), maxWraps)
	}
	a := &sealed{data: map[string][]byte{}}
	for _, w := range wraps {
		if a.data[w.Kind] != nil {
			return nil, fmt.Errorf("two wraps of kind %s", w.Kind)
		}
		words, flag, err := describe(w)
		if err != nil {
			a.causes = append(a.causes, fault.Mark(fault.Untrusted, fmt.Errorf("wrap of kind %.20q: %w", w.Kind, err)))
			words, flag = fmt.Sprintf("a damaged wrap of kind %.20q", w.Kind), ""
		}
		a.words = append(a.words, words)
		if flag != "" {
			a.data[w.Kind] = w.Data
			a.flags = append(a.flags, flag)
		}
	}
	return a, nil
}

// describe says for whom a wrap is, and with which flag it opens. Kinds of later versions are no error.
func describe(w Wrap) (words, flag string, err error) {
	if len(w.Data) > MaxWrap {
		return "", "", fmt.Errorf("%d bytes, more than %d", len(w.Data), MaxWrap)
	}
	switch w.Kind {
	case KindAge:
		types, err := stanzas(w.Data)
		if err == nil && slices.Contains(types, "scrypt") {
			err = errors.New("a passphrase stands among its recipients")
		}
		return counted(len(types), "age recipient"), "--identity FILE", err
	case KindPassphrase:
		types, err := stanzas(w.Data)
		if err == nil && !slices.Equal(types, []string{"scrypt"}) {
			err = errors.New("it is not for a passphrase alone")
		}
		return "a passphrase", "--passphrase", err
	case KindGPG:
		ids, err := gpgKeys(w.Data)
		return "gpg key " + list(ids, "and"), "gpg with the secret key of " + list(ids, "or"), err
	}
	return fmt.Sprintf("a kind of key that this version does not know, %.20q", w.Kind), "", nil
}

// stanzas returns the types of recipients of an age file.
func stanzas(data []byte) ([]string, error) {
	_, err := age.Decrypt(bytes.NewReader(data), nobody{})
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return none.StanzaTypes, nil
	}
	return nil, damaged(err) // nobody never succeeds
}

type nobody struct{}

func (nobody) Unwrap([]*age.Stanza) ([]byte, error) { return nil, age.ErrIncorrectIdentity }

// lost is the error for keys that do not open anything.
func (a *sealed) lost(given int) error {
	text := "open secret: the snapshot is sealed for " + list(a.words, "and")
	switch given {
	case 0:
		text += "; no key is given"
	case 1:
		text += "; the key given does not open it"
	default:
		text += fmt.Sprintf("; none of the %d keys given opens it", given)
	}
	kind, hint := fault.Input, ""
	if len(a.flags) > 0 {
		hint = "give a key: " + list(a.flags, "or")
	}
	for _, c := range a.causes {
		if k := fault.KindOf(c); k == fault.Untrusted || k == fault.Missing && kind == fault.Input {
			kind = k
		}
		if h := fault.HintOf(c); h != "" {
			hint = h
		}
	}
	err := errors.New(text)
	if len(a.causes) > 0 {
		err = fmt.Errorf("%s: %w", text, errors.Join(a.causes...))
	}
	return fault.Mark(kind, fault.Hint(err, hint))
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// list joins items as a sentence has them.
func list(items []string, word string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " " + word + " " + items[last]
}
