package seal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

// keyring makes a gpg home of its own for the test.
func keyring(t *testing.T) string {
	t.Helper()
	referee.Need(t, "gpg", "gpgconf", "gpg-agent")
	home, err := os.MkdirTemp("", "gpg") // short, since sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() {
		c := referee.Command(t, "gpgconf", "--homedir", home, "--kill", "all")
		_ = c.Run()
		os.RemoveAll(home)
	})
	return home
}

var hex40 = regexp.MustCompile(`[0-9A-F]{40}`)

// gpgKey makes a key pair without a passphrase, and returns its fingerprint.
func gpgKey(t *testing.T, mail string) string {
	t.Helper()
	out := referee.Run(t, "gpg", "--batch", "--status-fd", "1", "--passphrase", "", "--quick-gen-key", "Test <"+mail+">", "future-default", "default", "never")
	fpr := hex40.FindString(out[strings.Index(out, "KEY_CREATED"):])
	if fpr == "" {
		t.Fatal(out)
	}
	return fpr
}

func TestGPG(t *testing.T) {
	bobs := keyring(t)
	bob := gpgKey(t, "bob@example.org")
	public := referee.Run(t, "gpg", "--export", "--armor", bob)
	home := keyring(t)
	alice := gpgKey(t, "alice@example.org")
	gpgKey(t, "malice@example.org")
	eve := gpgKey(t, "eve@example.org")
	write(t, filepath.Join(home, "bob.asc"), []byte(public))
	referee.Run(t, "gpg", "--batch", "--import", filepath.Join(home, "bob.asc"))
	// Whatever the person's settings add, only the named keys may open it.
	write(t, filepath.Join(home, "gpg.conf"), []byte("armor\nencrypt-to "+eve+"\ngroup "+alice+"="+eve+"\n"))

	s := newSecret(t)
	for _, name := range []string{alice, "0x" + alice[24:], strings.ToLower(alice), "alice@example.org", "<Alice@example.org>"} {
		wraps := wrapFor(t, s, Recipients{GPG: []string{name, alice}})
		ids, err := gpgKeys(wraps[0].Data)
		if err != nil || len(ids) != 1 || len(wraps[0].Data) > 500 {
			t.Fatalf("%s: %v, %v, %d bytes", name, ids, err, len(wraps[0].Data))
		}
		opens(t, s, wraps, Keys{GPG: true})
		shut(t, s, wraps, Keys{}, fault.Input, "sealed for gpg key "+ids[0]+"; no key", "gpg with the secret key of "+ids[0])
	}

	both := wrapFor(t, s, Recipients{GPG: []string{alice, bob}})
	opens(t, s, both, Keys{GPG: true})
	wrap := filepath.Join(home, "secret.gpg")
	write(t, wrap, both[0].Data)
	if out, err := referee.Command(t, "gpg", "--batch", "-q", "-d", wrap).Output(); err != nil || !bytes.Equal(out, s.plain()) {
		t.Errorf("by hand: %v", err)
	}
	bobsOnly := wrapFor(t, s, Recipients{GPG: []string{bob}})
	shut(t, s, bobsOnly, Keys{GPG: true}, fault.Input, "the key given does not open it: gpg: ", "exit status 2")
	damagedGPG(t, s, wrapFor(t, s, Recipients{GPG: []string{alice}})[0].Data)

	for name, words := range map[string]string{
		"bob@example.org":       bob, // nobody certified that this key is bob's: the hint shows it
		"carol@example.org":     "import",
		strings.Repeat("A", 40): "import",
	} {
		wraps, err := s.Wrap(context.Background(), Recipients{GPG: []string{name}})
		if fault.KindOf(err) != fault.Input || wraps != nil || !strings.Contains(fault.HintOf(err), words) {
			t.Errorf("%s: %v, hint: %s", name, err, fault.HintOf(err))
		}
	}
	gpgKey(t, "other@example.org")
	referee.Run(t, "gpg", "--batch", "--passphrase", "", "--quick-add-uid", eve, "Eve <other@example.org>")
	if _, err := s.Wrap(context.Background(), Recipients{GPG: []string{"other@example.org"}}); err == nil || !strings.Contains(err.Error(), "2 keys") {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ended, both, Keys{GPG: true}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	t.Setenv("GNUPGHOME", bobs)
	opens(t, s, bobsOnly, Keys{GPG: true})
	opens(t, s, both, Keys{GPG: true})
}

// damagedGPG changes a message that gpg could open, and puts other things into one.
func damagedGPG(t *testing.T, s *Secret, good []byte) {
	t.Helper()
	for _, at := range []int{0, 1, 3, 20, len(good) / 2, len(good) - 60, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 4
		for _, data := range [][]byte{bad, good[:at]} {
			if got, err := Open(context.Background(), []Wrap{{KindGPG, data}}, Keys{GPG: true}); err == nil || got != nil {
				t.Errorf("changed at %d of %d: %v", at, len(good), got)
			} else {
				silent(t, s, err)
			}
		}
	}
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 4
	shut(t, s, []Wrap{{KindGPG, bad}}, Keys{GPG: true}, fault.Untrusted, "gpg: the message is damaged")
	for _, text := range []string{"", "hello\n", string(s.plain()) + "\n", strings.Repeat("0", 10<<20)} {
		c := referee.Command(t, "gpg", "--batch", "-q", "--no-encrypt-to", "--no-armor", "-z", "9", "--trust-model", "always", "-e", "-r", "alice@example.org")
		c.Stdin = strings.NewReader(text)
		data, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		shut(t, s, []Wrap{{KindGPG, data}}, Keys{GPG: true}, fault.Untrusted)
	}
}

func TestWithoutGPG(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s := newSecret(t)
	wraps := []Wrap{{KindGPG, append(append([]byte{0xc1, 12, 3}, make([]byte, 11)...), 0xd2, 1, 1)}}
	shut(t, s, wraps, Keys{GPG: true}, fault.Missing, "gpg not found", "apt-get install")
	if _, err := s.Wrap(context.Background(), Recipients{GPG: []string{"a@example.org"}}); fault.KindOf(err) != fault.Missing {
		t.Error(err)
	}
}
