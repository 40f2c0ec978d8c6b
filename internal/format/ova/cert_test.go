package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// certificate returns one of its own making for a key, in PEM.
func certificate(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	c := x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "saiga"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func signer(t testing.TB) *Signer {
	t.Helper()
	s, err := NewSigner(pkcs8(t, rsaKey()), certificate(t, rsaKey()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t testing.TB) Spec {
	s := spec
	s.Signer = signer(t)
	return s
}

func TestSignedArchive(t *testing.T) {
	s := signed(t)
	a := open(t, build(t, s))
	var names []string
	for _, m := range a.Members {
		names = append(names, m.Name)
	}
	if got, want := strings.Join(names, " "), "saiga-1.0.0.ovf saiga-1.0.0.mf saiga-1.0.0.cert saiga-1.0.0-disk1.vmdk"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	for _, f := range Check(a) {
		t.Errorf("%+v", f)
	}
	if err := a.Verify(context.Background()); err != nil {
		t.Error(err)
	}
	if c, err := a.VerifySignature(); err != nil || c.Subject.CommonName != "saiga" {
		t.Errorf("%v, %v", c, err)
	}
	again, err := os.ReadFile(build(t, s).Name())
	if err != nil {
		t.Fatal(err)
	}
	first, err := io.ReadAll(io.NewSectionReader(a.r, 0, 1<<40))
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the same input gave other bytes (%v)", err)
	}
	if c, err := open(t, build(t, spec)).VerifySignature(); c != nil || err != nil {
		t.Errorf("unsigned: %v, %v", c, err)
	}
}

// TestUnsignedArchiveIsAsEver: without a signer not a byte may differ from what it was before there were any.
func TestUnsignedArchiveIsAsEver(t *testing.T) {
	s := signed(t)
	with, without := open(t, build(t, s)), open(t, build(t, spec))
	const cut = 512 // of a header
	c := with.Members[2]
	padded := (c.Size + cut - 1) / cut * cut
	read := func(a *Archive, from, to int64) []byte {
		b, err := io.ReadAll(io.NewSectionReader(a.r, from, to-from))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	rest := append(read(with, 0, c.Offset-cut), read(with, c.Offset+padded, 1<<40)...)
	if !bytes.Equal(rest, read(without, 0, 1<<40)) {
		t.Error("the archives differ in more than the signature")
	}
}

func TestOpenSSLVerifiesTheSignature(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", build(t, signed(t)).Name(), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cert, err := os.ReadFile(filepath.Join(dir, "saiga-1.0.0.cert"))
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := strings.Cut(string(cert), "\n")
	text, ok := strings.CutPrefix(line, "SHA256(saiga-1.0.0.mf)= ")
	signature, err := hex.DecodeString(text)
	if err != nil || !ok || !strings.HasPrefix(rest, "-----BEGIN CERTIFICATE-----\n") {
		t.Fatalf("%v\n%s", err, cert)
	}
	c := referee.Command(t, "openssl", "x509", "-in", filepath.Join(dir, "saiga-1.0.0.cert"), "-noout", "-pubkey")
	public, err := c.Output() // openssl finds the certificate in the file as it is
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"sig": signature, "pub": public, "other.mf": []byte("SHA256(x)= 00\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := []string{"dgst", "-sha256", "-verify", filepath.Join(dir, "pub"), "-signature", filepath.Join(dir, "sig")}
	referee.Run(t, "openssl", append(verify, filepath.Join(dir, "saiga-1.0.0.mf"))...)
	if out, err := referee.Command(t, "openssl", append(verify, filepath.Join(dir, "other.mf"))...).CombinedOutput(); err == nil {
		t.Errorf("openssl takes another manifest: %s", out)
	}
}

// TestWeVerifyOpenSSLs: a .cert made by hand, as signing guides for ovftool teach it.
func TestWeVerifyOpenSSLs(t *testing.T) {
	dir := t.TempDir()
	manifest := []byte("SHA256(x.ovf)= 00\n")
	for name, data := range map[string][]byte{"x.mf": manifest, "key": pkcs8(t, rsaKey())} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert := certificate(t, rsaKey())
	for _, algorithm := range []string{"sha256", "sha512"} {
		c := referee.Command(t, "openssl", "dgst", "-"+algorithm, "-sign", "key", "x.mf")
		c.Dir = dir
		signature, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		file := append(fmt.Appendf(nil, "%s(x.mf)= %x\n", strings.ToUpper(algorithm), signature), cert...)
		if _, err := VerifyCert("x.mf", manifest, file); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		if err := virtualBoxReads("x.cert", file, manifest); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

// virtualBoxReads follows the steps of VirtualBox's reader of .cert files: the first certificate in the file counts; the
// lines before it form a manifest, each at most 4259 characters and ended; the one for NAME.mf holds the signature in hex.
func virtualBoxReads(name string, file, manifest []byte) error {
	block, _ := pem.Decode(file)
	if block == nil || block.Type != certificateType {
		return errors.New("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	lines := string(file[:bytes.Index(file, []byte("-----BEGIN CERTIFICATE-----"))])
	if !strings.HasSuffix(lines, "\n") {
		return errors.New("the last line before the certificate has no end, and is dropped")
	}
	for line := range strings.Lines(lines) {
		attribute, rest, found := strings.Cut(strings.TrimSpace(line), "(")
		entry, value, closed := strings.Cut(rest, ")")
		value, equals := strings.CutPrefix(strings.TrimLeft(value, " \t"), "=")
		if !found || !closed || !equals || len(line) > 4259 {
			return fmt.Errorf("line %q is not of a manifest", line)
		}
		if entry != strings.TrimSuffix(name, ".cert")+".mf" {
			continue
		}
		signature, err := hex.DecodeString(strings.TrimSpace(value))
		if err != nil {
			return err
		}
		algorithm := map[string]x509.SignatureAlgorithm{"SHA256": x509.SHA256WithRSA, "SHA512": x509.SHA512WithRSA}[strings.TrimSpace(attribute)]
		return cert.CheckSignature(algorithm, manifest, signature)
	}
	return errors.New("no line for the manifest")
}

func TestVirtualBoxReadsOurs(t *testing.T) {
	manifest := []byte("SHA256(x.ovf)= 00\n")
	cert, err := signer(t).Cert("x.mf", manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := virtualBoxReads("x.cert", cert, manifest); err != nil {
		t.Error(err)
	}
	if virtualBoxReads("x.cert", cert, append(manifest, '\n')) == nil || virtualBoxReads("y.cert", cert, manifest) == nil {
		t.Error("it reads anything")
	}
}

func TestChangedSignedArchives(t *testing.T) {
	good := open(t, build(t, signed(t)))
	for name, change := range map[string]func(h *tar.Header, b []byte) []byte{
		"manifest":    func(h *tar.Header, b []byte) []byte { return replaceIn(h, ".mf", b, "SHA256", "SHA1") },
		"signature":   func(h *tar.Header, b []byte) []byte { return replaceIn(h, ".cert", b, ")= ", ")= 00") },
		"algorithm":   func(h *tar.Header, b []byte) []byte { return replaceIn(h, ".cert", b, "SHA256", "SHA512") },
		"weak digest": func(h *tar.Header, b []byte) []byte { return replaceIn(h, ".cert", b, "SHA256", "SHA1") },
		"certificate": func(h *tar.Header, b []byte) []byte { return replaceIn(h, ".cert", b, "-----BEGIN", "-----BEGUN") },
		"other name":  func(h *tar.Header, b []byte) []byte { return replaceIn(h, ".cert", b, "saiga", "gazel") },
		"file name":   func(h *tar.Header, b []byte) []byte { h.Name = strings.Replace(h.Name, ".cert", "x.cert", 1); return b },
		"no manifest": func(h *tar.Header, b []byte) []byte { h.Name = strings.Replace(h.Name, ".mf", ".txt", 1); return b },
	} {
		a := rewrite(t, good, change)
		expect(t, "certificate", Check(a))
		if _, err := a.VerifySignature(); fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s: %v", name, err)
		}
		if a.Verify(context.Background()) == nil {
			t.Errorf("%s: Verify does not mind", name)
		}
	}
}

func replaceIn(h *tar.Header, kind string, b []byte, from, to string) []byte {
	if filepath.Ext(h.Name) == kind {
		return bytes.ReplaceAll(b, []byte(from), []byte(to))
	}
	return b
}

// TestFlippedBitsOfCert: no flip in the signature's line passes. One in the certificate may, as long as the key is the
// same: whoever trusts a certificate compares it whole, or by its authority's signature.
func TestFlippedBitsOfCert(t *testing.T) {
	manifest := []byte("SHA256(x.ovf)= 00\n")
	good, err := signer(t).Cert("x.mf", manifest)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.IndexByte(good, '\n')
	for i := range good {
		for _, bit := range []int{i % 5, 5} {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			c, err := VerifyCert("x.mf", manifest, bad)
			if err == nil && (i <= line || !rsaKey().PublicKey.Equal(c.PublicKey)) {
				t.Errorf("byte %d, bit %d is not noticed", i, bit)
			}
		}
	}
	for i := range manifest {
		bad := bytes.Clone(manifest)
		bad[i] ^= 1
		if _, err := VerifyCert("x.mf", bad, good); fault.KindOf(err) != fault.Untrusted {
			t.Errorf("manifest, byte %d: %v", i, err)
		}
	}
}

func TestBadSigners(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := certificate(t, rsaKey())
	for name, c := range map[string]struct{ key, cert []byte }{
		"no key":             {nil, cert},
		"no certificate":     {pkcs8(t, rsaKey()), nil},
		"elliptic":           {pkcs8(t, elliptical), certificate(t, elliptical)},
		"weak":               {pkcs8(t, weak), certificate(t, weak)},
		"another's":          {pkcs8(t, rsaKey()), certificate(t, elliptical)},
		"exchanged":          {cert, pkcs8(t, rsaKey())},
		"key among them":     {pkcs8(t, rsaKey()), append(bytes.Clone(cert), pkcs8(t, rsaKey())...)},
		"long":               {make([]byte, maxPEM+1), cert},
		"long certificates":  {pkcs8(t, rsaKey()), make([]byte, maxPEM+1)},
		"broken certificate": {pkcs8(t, rsaKey()), pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: []byte("x")})},
	} {
		if s, err := NewSigner(c.key, c.cert); s != nil || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())})
	if _, err := NewSigner(old, append(bytes.Clone(cert), certificate(t, elliptical)...)); err != nil {
		t.Errorf("PKCS #1 and a chain: %v", err)
	}
}

// FuzzVerifyCert: what we take, VirtualBox must take too. (A fuzzer's workers have keys of their own: none can be asked for.)
func FuzzVerifyCert(f *testing.F) {
	manifest := []byte("SHA256(x.ovf)= 00\n")
	good, err := signer(f).Cert("x.mf", manifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := VerifyCert("x.mf", manifest, b)
		if err != nil && (c != nil || fault.KindOf(err) != fault.Untrusted) {
			t.Errorf("%v, %v", c, err)
		}
		if err != nil {
			return
		}
		if err := virtualBoxReads("x.cert", b, manifest); err != nil {
			t.Errorf("VirtualBox refuses %q: %v", b, err)
		}
	})
}
