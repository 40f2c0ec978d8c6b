package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

// TestMain stands in for age-plugin-seed, whose key file is called so: a plugin that seals by XOR, after a question.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-seed" {
		p, err := plugin.New("seed")
		if err != nil {
			panic(err)
		}
		p.HandleRecipient(func([]byte) (age.Recipient, error) { return xor{}, nil })
		p.HandleIdentity(func([]byte) (age.Identity, error) { return xor{p}, nil })
		os.Exit(p.Main())
	}
	os.Exit(m.Run())
}

type xor struct{ p *plugin.Plugin }

func (xor) Wrap(key []byte) ([]*age.Stanza, error) {
	body := bytes.Clone(key)
	for i := range body {
		body[i] ^= 0x55
	}
	return []*age.Stanza{{Type: "seed", Args: []string{"a"}, Body: body}}, nil
}

func (x xor) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if err := x.p.DisplayMessage("touch it"); err != nil {
		return nil, err
	}
	if pin, err := x.p.RequestValue("pin", true); err != nil || pin != "1234" {
		return nil, fmt.Errorf("wrong pin: %w", err)
	}
	for _, s := range stanzas {
		if s.Type == "seed" {
			again, err := xor{}.Wrap(s.Body)
			return again[0].Body, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// ageKey writes an identity file, and returns its recipient.
func ageKey(t testing.TB, path string) string {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte("# created: today\n# public key: "+k.Recipient().String()+"\n"+k.String()+"\n"))
	return k.Recipient().String()
}

func wrapFor(t testing.TB, s *Secret, r Recipients) []Wrap {
	t.Helper()
	wraps, err := s.Wrap(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return wraps
}

// opens fails unless the keys give back s.
func opens(t testing.TB, s *Secret, wraps []Wrap, k Keys) {
	t.Helper()
	if got, err := Open(context.Background(), wraps, k); err != nil || got.ID() != s.ID() {
		t.Fatalf("%v, %v", got, err)
	}
}

// shut fails unless the keys open nothing, with an error of this kind that holds all words.
func shut(t testing.TB, s *Secret, wraps []Wrap, k Keys, kind fault.Kind, words ...string) {
	t.Helper()
	got, err := Open(context.Background(), wraps, k)
	if err == nil || got != nil || fault.KindOf(err) != kind {
		t.Fatalf("%v, %v (%d)", got, err, fault.KindOf(err))
	}
	for _, w := range words {
		if !strings.Contains(err.Error()+"\nhint: "+fault.HintOf(err), w) {
			t.Errorf("%q is not in: %v\nhint: %s", w, err, fault.HintOf(err))
		}
	}
	silent(t, s, err)
}

func says(answer string) func(string) (string, error) {
	return func(string) (string, error) { return answer, nil }
}

func TestAgeKeys(t *testing.T) {
	s, dir := newSecret(t), t.TempDir()
	alice, bob, eve := filepath.Join(dir, "alice"), filepath.Join(dir, "bob"), filepath.Join(dir, "eve")
	list := filepath.Join(dir, "list")
	write(t, list, []byte("# the second\r\n\n"+ageKey(t, bob)+"\r\n"))
	ageKey(t, eve)
	wraps := wrapFor(t, s, Recipients{Age: []string{ageKey(t, alice), "@" + list}})
	if len(wraps) != 1 || wraps[0].Kind != KindAge || len(wraps[0].Data) > 500 {
		t.Fatalf("%d wraps, %d bytes", len(wraps), len(wraps[0].Data))
	}
	opens(t, s, wraps, Keys{Identities: []string{alice}})
	opens(t, s, wraps, Keys{Identities: []string{eve, bob}})
	shut(t, s, wraps, Keys{Identities: []string{eve}}, fault.Input, "2 age recipients; the key given does not", "--identity FILE")
	shut(t, s, wraps, Keys{Identities: []string{eve, eve}}, fault.Input, "none of the 2 keys given opens it")
	shut(t, s, wraps, Keys{}, fault.Input, "no key is given")
	shut(t, s, wraps, Keys{Identities: []string{dir + "/none"}}, fault.Input, "none: no such file")
	shut(t, s, wraps, Keys{Identities: []string{list}}, fault.Input, list+": line 3: no identity")

	// Another set of people: the blobs stay, and so does who was left out of the new wrap.
	blob := encrypt(t, s, []byte("memory"))
	opened, err := Open(context.Background(), wraps, Keys{Identities: []string{alice}})
	if err != nil {
		t.Fatal(err)
	}
	again := wrapFor(t, opened, Recipients{Age: []string{list}})
	opens(t, s, again, Keys{Identities: []string{bob}})
	shut(t, s, again, Keys{Identities: []string{alice}}, fault.Input, "1 age recipient;")
	if got, _ := Open(context.Background(), again, Keys{Identities: []string{bob}}); got != nil {
		if text, err := decrypt(got, blob); err != nil || string(text) != "memory" {
			t.Errorf("%q, %v", text, err)
		}
	}
}

// TestStockAgeOpensWraps goes the way of docs/encryption.md by hand, and back.
func TestStockAgeOpensWraps(t *testing.T) {
	referee.Need(t, "age", "age-keygen")
	s, dir := newSecret(t), t.TempDir()
	key, wrap, blob := filepath.Join(dir, "key"), filepath.Join(dir, "secret.age"), filepath.Join(dir, "blob")
	referee.Run(t, "age-keygen", "-o", key)
	recipient := strings.TrimSpace(referee.Run(t, "age-keygen", "-y", key))
	write(t, wrap, wrapFor(t, s, Recipients{Age: []string{recipient}})[0].Data)
	write(t, blob, encrypt(t, s, []byte("memory")))
	repo := filepath.Join(dir, "repo.key")
	referee.Run(t, "age", "-d", "-i", key, "-o", repo, wrap)
	if out := referee.Run(t, "age", "-d", "-i", repo, blob); out != "memory" {
		t.Errorf("age read %q", out)
	}
	referee.Run(t, "age", "-r", recipient, "-o", wrap, repo)
	opens(t, s, []Wrap{{KindAge, read(t, wrap)}}, Keys{Identities: []string{key}})
	referee.Run(t, "age", "-a", "-r", recipient, "-o", wrap, repo)
	shut(t, s, []Wrap{{KindAge, read(t, wrap)}}, Keys{Identities: []string{key}}, fault.Untrusted, "damaged")
}

// TestPostQuantum: age's hybrid keys work, though age keeps them apart from others.
func TestPostQuantum(t *testing.T) {
	s, dir := newSecret(t), t.TempDir()
	k, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	key, name := filepath.Join(dir, "key"), k.Recipient().String()
	write(t, key, []byte(k.String()+"\n"))
	opens(t, s, wrapFor(t, s, Recipients{Age: []string{name}}), Keys{Identities: []string{key}})
	if _, err := s.Wrap(context.Background(), Recipients{Age: []string{name, ageKey(t, filepath.Join(dir, "other"))}}); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestSSHKeys(t *testing.T) {
	referee.Need(t, "ssh-keygen")
	s, dir := newSecret(t), t.TempDir()
	for _, kind := range []struct{ name, format, passphrase string }{
		{"ed25519", "RFC4716", ""}, {"ed25519", "RFC4716", "open it"}, {"rsa", "RFC4716", ""}, {"rsa", "PEM", "open it"},
	} {
		path := filepath.Join(dir, kind.name+kind.format+kind.passphrase)
		referee.Run(t, "ssh-keygen", "-q", "-t", kind.name, "-m", kind.format, "-N", kind.passphrase, "-C", "me@here", "-f", path)
		public := strings.TrimSpace(string(read(t, path+".pub")))
		for _, name := range []string{public, path + ".pub"} {
			wraps := wrapFor(t, s, Recipients{Age: []string{name}})
			opens(t, s, wraps, Keys{Identities: []string{path}, Passphrase: says("open it")})
			if kind.passphrase != "" {
				shut(t, s, wraps, Keys{Identities: []string{path}}, fault.Input, "nobody can be asked")
				shut(t, s, wraps, Keys{Identities: []string{path}, Passphrase: says("other")}, fault.Input, path+": failed to decrypt SSH key")
			}
		}
	}
}

func TestPassphrase(t *testing.T) {
	s := newSecret(t)
	wraps := wrapFor(t, s, Recipients{Passphrase: "correct horse"})
	if !bytes.HasPrefix(wraps[0].Data, []byte("age-encryption.org/v1\n-> scrypt ")) || !bytes.Contains(wraps[0].Data[:80], []byte(" 18\n")) {
		t.Errorf("%.80q", wraps[0].Data)
	}
	opens(t, s, wraps, Keys{Passphrase: says("correct horse")})
	quick, err := s.wrapPassphrase("correct horse", 4)
	if err != nil {
		t.Fatal(err)
	}
	wraps[0].Data = quick
	shut(t, s, wraps, Keys{Passphrase: says("wrong horse")}, fault.Input, "sealed for a passphrase; the key given", "the passphrase is wrong", "--passphrase")
	shut(t, s, wraps, Keys{Passphrase: says("")}, fault.Input, "empty")
	refuses := errors.New("interrupted")
	_, err = Open(context.Background(), wraps, Keys{Passphrase: func(string) (string, error) { return "", refuses }})
	if !errors.Is(err, refuses) {
		t.Error(err)
	}
	costly := bytes.Replace(quick, []byte(" 4\n"), []byte(" 22\n"), 1)
	shut(t, s, []Wrap{{KindPassphrase, costly}}, Keys{Passphrase: says("correct horse")}, fault.Untrusted, "work factor too large")
}

// TestSealedIdentities: identity files that are themselves sealed with a passphrase, as `age -p` writes them.
func TestSealedIdentities(t *testing.T) {
	s, dir := newSecret(t), t.TempDir()
	plain := filepath.Join(dir, "plain")
	wraps := wrapFor(t, s, Recipients{Age: []string{ageKey(t, plain)}})
	r, err := age.NewScryptRecipient("mine")
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(4)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(read(t, plain))
	w.Close()
	path := filepath.Join(dir, "sealed")
	write(t, path, b.Bytes())
	opens(t, s, wraps, Keys{Identities: []string{path}, Passphrase: says("mine")})
	opens(t, s, wraps, Keys{Identities: []string{path, plain}}) // the one that asks nobody comes first
	shut(t, s, wraps, Keys{Identities: []string{path}, Passphrase: says("yours")}, fault.Input, "passphrase is wrong")
	var text bytes.Buffer
	a := armor.NewWriter(&text)
	a.Write(b.Bytes())
	a.Close()
	write(t, path, append([]byte("\n"), text.Bytes()...))
	opens(t, s, wraps, Keys{Identities: []string{path}, Passphrase: says("mine")})
	write(t, path, text.Bytes()[:text.Len()/2])
	shut(t, s, wraps, Keys{Identities: []string{path}}, fault.Input, path)
	write(t, path, b.Bytes()[:b.Len()-1])
	shut(t, s, wraps, Keys{Identities: []string{path}, Passphrase: says("mine")}, fault.Input, "damaged")
}

func TestPlugins(t *testing.T) {
	s, dir := newSecret(t), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "age-plugin-seed")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	key := filepath.Join(dir, "key")
	write(t, key, []byte(plugin.EncodeIdentity("seed", []byte("a"))+"\n"))
	wraps := wrapFor(t, s, Recipients{Age: []string{plugin.EncodeRecipient("seed", []byte("a"))}})
	told := ""
	k := Keys{Identities: []string{key}, Passphrase: says("1234"), Tell: func(m string) { told += m }}
	if opens(t, s, wraps, k); told != "touch it" {
		t.Errorf("told %q", told)
	}
	shut(t, s, wraps, Keys{Identities: []string{key}}, fault.Input, "seed plugin")
	write(t, key, []byte(plugin.EncodeIdentity("gone", []byte("a"))+"\n"))
	shut(t, s, wraps, k, fault.Input, "not found")
	if _, err := s.Wrap(context.Background(), Recipients{Age: []string{plugin.EncodeRecipient("gone", []byte("a"))}}); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestRecipientsThatMisfit(t *testing.T) {
	s, dir := newSecret(t), t.TempDir()
	secret := filepath.Join(dir, "secret")
	good := ageKey(t, secret)
	empty := filepath.Join(dir, "empty")
	write(t, empty, []byte("# nothing\n"))
	for name, r := range map[string]Recipients{
		"none":          {},
		"damaged":       {Age: []string{good[:len(good)-1]}},
		"ecdsa":         {Age: []string{"ssh-ecdsa AAAA"}},
		"short rsa":     {Age: []string{"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQE="}},
		"secret key":    {Age: []string{s.identity.String()}},
		"small secret":  {Age: []string{strings.ToLower(s.identity.String())}},
		"secret file":   {Age: []string{secret}},
		"empty file":    {Age: []string{empty}},
		"no file":       {Age: []string{filepath.Join(dir, "none")}},
		"folder":        {Age: []string{dir}},
		"endless":       {Age: []string{"/dev/zero"}},
		"too many":      {Age: strings.Split(strings.Repeat(good+" ", 700)+good, " ")},
		"option of gpg": {GPG: []string{"--yes"}},
		"name in gpg":   {GPG: []string{"alice"}},
		"short key id":  {GPG: []string{"DEADBEEF"}},
	} {
		wraps, err := s.Wrap(context.Background(), r)
		if fault.KindOf(err) != fault.Input || wraps != nil {
			t.Errorf("%s: %v, %d wraps", name, err, len(wraps))
		}
		silent(t, s, err)
		if strings.Contains(err.Error(), strings.TrimSpace(string(read(t, secret)))[100:]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Wrap(ended, Recipients{Age: []string{good}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
