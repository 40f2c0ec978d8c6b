package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

func newSecret(t testing.TB) *Secret {
	t.Helper()
	s, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func encrypt(t testing.TB, s *Secret, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := s.Encrypt(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decrypt(s *Secret, blob []byte) ([]byte, error) {
	r, err := s.Decrypt(bytes.NewReader(blob))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// noise returns n bytes, the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// silent fails when text, in any of the ways to print v, holds the secret.
func silent(t testing.TB, s *Secret, v any) {
	t.Helper()
	key := strings.TrimSpace(string(s.plain()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb, v)
		if strings.Contains(strings.ToUpper(text), key[len("AGE-SECRET-KEY-1"):]) || strings.Contains(text, fmt.Sprintf("%x", key)) {
			t.Fatalf("%s of %T shows the secret", verb, v)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	s := newSecret(t)
	for _, n := range []int{0, 1, 75, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300000} {
		blob := encrypt(t, s, noise(n))
		text, err := decrypt(s, blob)
		if err != nil || !bytes.Equal(text, noise(n)) {
			t.Errorf("%d bytes: %v, %d bytes", n, err, len(text))
		}
		if bytes.Equal(blob, encrypt(t, s, noise(n))) {
			t.Errorf("%d bytes: the same file twice", n)
		}
	}
}

// TestStockAge opens our blobs with the age program, and its files with our code.
func TestStockAge(t *testing.T) {
	referee.Need(t, "age")
	s, dir := newSecret(t), t.TempDir()
	key, blob := filepath.Join(dir, "repo.key"), filepath.Join(dir, "blob")
	if err := s.Save(key); err != nil {
		t.Fatal(err)
	}
	write(t, blob, encrypt(t, s, noise(100000)))
	if out := referee.Run(t, "age", "-d", "-i", key, blob); out != string(noise(100000)) {
		t.Errorf("age read %d bytes", len(out))
	}
	write(t, filepath.Join(dir, "text"), noise(100000))
	referee.Run(t, "age", "-r", s.identity.Recipient().String(), "-o", blob, filepath.Join(dir, "text"))
	text, err := decrypt(s, read(t, blob))
	if err != nil || !bytes.Equal(text, noise(100000)) {
		t.Errorf("of age's file: %v", err)
	}
}

// TestDamaged changes a blob at each byte of its header and at every 1000th behind it: no change may pass.
func TestDamaged(t *testing.T) {
	s := newSecret(t)
	whole := noise(200000)
	blob := encrypt(t, s, whole)
	refused := func(name string, data []byte) {
		t.Helper()
		text, err := decrypt(s, data)
		if fault.KindOf(err) != fault.Untrusted || !bytes.HasPrefix(whole, text) || len(err.Error()) > 300 {
			t.Errorf("%s: %v, %d bytes", name, err, len(text))
		}
		silent(t, s, err)
	}
	for at := 0; at < len(blob); {
		flipped := bytes.Clone(blob)
		flipped[at] ^= 1 << (at % 8)
		refused(fmt.Sprint("flipped at ", at), flipped)
		refused(fmt.Sprint("cut at ", at), blob[:at])
		if at++; at > 250 {
			at += 999
		}
	}
	const header = 168 + 16 // bytes, with the nonce
	const piece = 64<<10 + 16
	first, second := blob[header:header+piece], blob[header+piece:header+2*piece]
	refused("pieces exchanged", bytes.Join([][]byte{blob[:header], second, first, blob[header+2*piece:]}, nil))
	refused("a piece less", bytes.Join([][]byte{blob[:header], first, blob[header+2*piece:]}, nil))
	refused("continued", append(bytes.Clone(blob), 0))
	refused("doubled", append(bytes.Clone(blob), blob...))
	refused("long line", []byte("age-encryption.org/v1\n-> "+strings.Repeat("x", 3<<20)))
	refused("for another", encrypt(t, newSecret(t), whole))
}

// TestReadErrors: what the network does is not the blob's fault.
func TestReadErrors(t *testing.T) {
	s := newSecret(t)
	blob := encrypt(t, s, noise(200000))
	lost := errors.New("connection lost")
	for _, n := range []int{0, 100, 184, 65736, 150000, len(blob)} {
		r, err := s.Decrypt(io.MultiReader(bytes.NewReader(blob[:n]), broken{lost}))
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, lost) || fault.KindOf(err) != fault.Failed {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, err := s.Encrypt(broken{lost}); !errors.Is(err, lost) {
		t.Error(err)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error)  { return 0, b.err }
func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestSecretIsNotPrinted(t *testing.T) {
	s := newSecret(t)
	for _, v := range []any{s, *s, struct{ S *Secret }{s}, struct{ S Secret }{*s}, []*Secret{s}, map[string]Secret{"a": *s}} {
		silent(t, s, v)
		text, err := json.Marshal(v)
		if err != nil || !strings.Contains(string(text), s.ID()[:16]) {
			t.Errorf("%s, %v", text, err)
		}
		silent(t, s, string(text))
	}
	if len(s.ID()) != 64 || s.ID() == newSecret(t).ID() || !strings.Contains(fmt.Sprint(s), s.ID()[:16]) {
		t.Errorf("%s is %s", s.ID(), s)
	}
	_ = fmt.Sprint(Secret{}, (*Secret)(nil))
}

func TestSaveAndLoad(t *testing.T) {
	s, path := newSecret(t), filepath.Join(t.TempDir(), "repo.key")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	for range 2 {
		if err := s.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	back, err := Load(path)
	if err != nil || back.ID() != s.ID() {
		t.Errorf("%v, %v", back, err)
	}
	if err := newSecret(t).Save(path); err == nil {
		t.Error("another secret is overwritten")
	}
	line := s.identity.String()
	for name, text := range map[string]string{
		"empty": "", "no newline": line, "two lines": line + "\n\n", "small": strings.ToLower(line) + "\n", "long": line + strings.Repeat("\n", 1000),
		"changed": line[:40] + "7" + line[41:] + "\n", "other": "hello\n", "cut": line[:50] + "\n",
	} {
		if text == line+"\n" {
			continue
		}
		write(t, path, []byte(text))
		if back, err = Load(path); fault.KindOf(err) != fault.Input || back != nil {
			t.Errorf("%s: %v, %v", name, back, err)
		}
		silent(t, s, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !strings.Contains(fault.HintOf(err), "chmod 600") {
		t.Errorf("open to the group: %v", err)
	}
}

func BenchmarkEncrypt(b *testing.B) {
	s, text := newSecret(b), noise(16<<20)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		w, err := s.Encrypt(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	s := newSecret(b)
	blob := encrypt(b, s, noise(16<<20))
	b.SetBytes(16 << 20)
	for b.Loop() {
		r, err := s.Decrypt(bytes.NewReader(blob))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
