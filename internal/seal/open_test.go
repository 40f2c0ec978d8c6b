package seal

import (
	"bytes"
	"compress/gzip"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/agibake/agibake/internal/fault"
)

// sealed returns an age file with any text for a recipient.
func sealedText(t testing.TB, recipient, text string) []byte {
	t.Helper()
	list, err := parseRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, list...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileWraps(t *testing.T) {
	s, key := newSecret(t), filepath.Join(t.TempDir(), "key")
	me := ageKey(t, key)
	good := wrapFor(t, s, Recipients{Age: []string{me}})[0].Data
	phrase, err := s.wrapPassphrase("p", 4)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(make([]byte, 1<<20))
	z.Close()
	line := s.identity.String()
	k := Keys{Identities: []string{key}, Passphrase: says("p"), GPG: true}
	for name, wraps := range map[string][]Wrap{
		"none":                     {},
		"many":                     make([]Wrap, 17),
		"two of a kind":            {{KindAge, good}, {KindAge, good}},
		"empty":                    {{KindAge, nil}},
		"large":                    {{KindAge, append(bytes.Clone(good), make([]byte, MaxWrap)...)}},
		"large, unknown":           {{strings.Repeat("x", 1<<20), make([]byte, MaxWrap+1)}},
		"cut":                      {{KindAge, good[:len(good)-1]}},
		"continued":                {{KindAge, append(bytes.Clone(good), 0)}},
		"armor":                    {{KindAge, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n" + strings.Repeat("\n", 1000))}},
		"zipped":                   {{KindAge, zipped.Bytes()}},
		"a blob as wrap":           {{KindAge, sealedText(t, me, strings.Repeat("x", 10000))}},
		"two secrets":              {{KindAge, sealedText(t, me, line+"\n"+line+"\n")}},
		"a text":                   {{KindAge, sealedText(t, me, "\x1b[2Jcommand")}},
		"a plugin's identity":      {{KindAge, sealedText(t, me, "AGE-PLUGIN-SEED-1QQQQ\n")}},
		"nothing":                  {{KindAge, sealedText(t, me, "")}},
		"passphrase as age":        {{KindAge, phrase}},
		"age as passphrase":        {{KindPassphrase, good}},
		"passphrase for gpg":       {{KindGPG, []byte{0xc3, 4, 4, 9, 0, 2, 0xd2, 1, 1}}},
		"then a passphrase":        {{KindGPG, append(append([]byte{0xc1, 12, 3}, make([]byte, 11)...), 0xc3, 4, 4, 9, 0, 2, 0xd2, 1, 1)}},
		"gpg, compressed":          {{KindGPG, []byte{0xa3, 1, 2, 3}}},
		"gpg, armor":               {{KindGPG, []byte("-----BEGIN PGP MESSAGE-----\n")}},
		"gpg, no recipient":        {{KindGPG, []byte{0xd2, 1, 1}}},
		"gpg, half a header":       {{KindGPG, []byte{0xc1}}},
		"gpg, a length without it": {{KindGPG, []byte{0xc1, 0xff, 0xff, 0xff, 0xff, 0xff, 3}}},
		"gpg, thousands":           {{KindGPG, bytes.Repeat(append([]byte{0xc1, 12, 3}, make([]byte, 11)...), 1000)}},
	} {
		t.Run(name, func(t *testing.T) {
			shut(t, s, wraps, k, fault.Untrusted)
			if _, err := Open(context.Background(), wraps, k); len(err.Error()) > 600 || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("%q", err)
			}
		})
	}
	// A damaged wrap does not shut out those who have another key, nor does a kind of a later version.
	opens(t, s, []Wrap{{KindAge, good[1:]}, {KindPassphrase, phrase}}, k)
	opens(t, s, []Wrap{{"quantum", []byte("x")}, {KindAge, good}}, k)
	shut(t, s, []Wrap{{"quantum", []byte("x")}}, k, fault.Input, `does not know, "quantum"`)
	shut(t, s, []Wrap{{KindAge, good}, {KindPassphrase, phrase}}, Keys{}, fault.Input,
		"sealed for 1 age recipient and a passphrase; no key is given", "give a key: --identity FILE or --passphrase")
	shut(t, s, []Wrap{{KindGPG, append(append([]byte{0xc1, 12, 3}, "12345678901"...), 0xd2, 1, 1)}}, Keys{}, fault.Input, "gpg key 3132333435363738;")
}

// TestPacketSizes: RFC 9580, section 4.2, all forms of lengths.
func TestPacketSizes(t *testing.T) {
	body := append([]byte{3}, "ABCDEFGH"...)
	body = append(body, make([]byte, 300-len(body))...)
	for _, head := range [][]byte{{0x85, 1, 44}, {0x86, 0, 0, 1, 44}, {0xc1, 192, 108}, {0xc1, 255, 0, 0, 1, 44}} {
		message := append(append(bytes.Clone(head), body...), 0xd2)
		if ids, err := gpgKeys(message); err != nil || len(ids) != 1 || ids[0] != "4142434445464748" {
			t.Errorf("%x: %v, %v", head, ids, err)
		}
		for n := range message {
			if ids, err := gpgKeys(message[:n]); err == nil || ids != nil {
				t.Errorf("%x, cut at %d: %v", head, n, ids)
			}
		}
	}
	for _, head := range [][]byte{{0x87}, {0xc1, 230}, {0x85, 1, 45}, {0x05, 1, 44}} {
		if _, err := gpgKeys(append(append(bytes.Clone(head), body...), 0xd2)); err == nil {
			t.Errorf("%x is taken", head)
		}
	}
}

// TestEachBit flips all bits of a wrap: none may give a secret, nor a panic.
func TestEachBit(t *testing.T) {
	s, key := newSecret(t), filepath.Join(t.TempDir(), "key")
	good := wrapFor(t, s, Recipients{Age: []string{ageKey(t, key)}})[0].Data
	for at := range 8 * len(good) {
		data := bytes.Clone(good)
		data[at/8] ^= 1 << (at % 8)
		if got, err := Open(context.Background(), []Wrap{{KindAge, data}}, Keys{Identities: []string{key}}); err == nil || got != nil {
			t.Fatalf("bit %d: %v", at, got)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s, key := newSecret(f), filepath.Join(f.TempDir(), "key")
	good := wrapFor(f, s, Recipients{Age: []string{ageKey(f, key)}})[0].Data
	f.Add(KindAge, good)
	f.Add(KindAge, good[:100])
	phrase, err := s.wrapPassphrase("p", 4)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(KindPassphrase, phrase)
	f.Add(KindGPG, append(append([]byte{0xc1, 12, 3}, make([]byte, 11)...), 0xd2, 1, 1))
	f.Add(KindGPG, append(append([]byte{0x85, 0, 12, 3}, make([]byte, 11)...), 0xd4, 1, 1))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		// Nobody gives a passphrase, as large work factors would only take time, and gpg is not run.
		got, err := Open(context.Background(), []Wrap{{kind, data}}, Keys{Identities: []string{key}})
		switch {
		case (got == nil) == (err == nil):
			t.Fatal("neither or both of a secret and an error")
		case err != nil && fault.KindOf(err) != fault.Input && fault.KindOf(err) != fault.Untrusted:
			t.Fatal(err)
		case err == nil && (kind != KindAge || got.ID() != s.ID() || !bytes.Equal(data, good)):
			t.Fatal("a secret from a changed wrap")
		}
	})
}
