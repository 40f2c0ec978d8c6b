package ova

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// Signer signs an appliance's manifest with an X.509 certificate (DSP0243, section 5.1). It is safe for concurrent use.
type Signer struct {
	key   *rsa.PrivateKey
	chain []byte // PEM, the signer's certificate first
}

const (
	certificateType = "CERTIFICATE"
	maxPEM          = 64 << 10 // of a key or of certificates, in bytes
)

// NewSigner takes an RSA key (PKCS #8 or PKCS #1, not encrypted) of at least 2048 bits and its certificate, both in PEM;
// further certificates, of the authorities above, may follow the first. Importers know only RSA. Errors are of kind
// fault.Input and hold nothing of the key.
func NewSigner(key, certificates []byte) (*Signer, error) {
	s, err := newSigner(key, certificates)
	return s, fault.Mark(fault.Input, err)
}

func newSigner(key, certificates []byte) (*Signer, error) {
	private, err := readKey(key)
	if err != nil {
		return nil, fmt.Errorf("read the OVA signing key: %w", err)
	}
	chain, err := readChain(certificates)
	if err != nil {
		return nil, fmt.Errorf("read the OVA certificate: %w", err)
	}
	if !private.PublicKey.Equal(chain[0].PublicKey) {
		return nil, fault.Hint(errors.New("the OVA certificate is not that of the key"), "the signer's own certificate comes first in its file")
	}
	s := &Signer{key: private}
	for _, c := range chain {
		s.chain = append(s.chain, pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: c.Raw})...)
	}
	return s, nil
}

func readKey(text []byte) (*rsa.PrivateKey, error) {
	if len(text) > maxPEM {
		return nil, errors.New("the file is too long")
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM file")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fault.Hint(errors.New("no plain private key"), "`openssl pkey -in FILE -out PLAIN` takes a password off")
	}
	private, ok := key.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, fault.Hint(errors.New("no RSA key"), "`openssl req -x509 -newkey rsa:3072 -nodes -keyout ova.key -out ova.crt` makes one")
	}
	if private.N.BitLen() < 2048 {
		return nil, fmt.Errorf("%d bits are too few", private.N.BitLen())
	}
	return private, nil
}

// readChain returns the certificates of a PEM text; there is at least one.
func readChain(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, errors.New("the file is too long")
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != certificateType {
			return nil, fmt.Errorf("a PEM block of type %.40q is among the certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return chain, nil
}

// Fingerprint is the SHA-256 of the certificates in PEM, in hex. A nil Signer has none: "".
func (s *Signer) Fingerprint() string {
	if s == nil {
		return ""
	}
	sum := sha256.Sum256(s.chain)
	return hex.EncodeToString(sum[:])
}

// Cert returns the .cert file for the manifest file of that name: a line with the signature of the manifest's bytes,
// RSA with SHA-256 (PKCS #1 v1.5), and the certificates. The same input gives the same bytes.
func (s *Signer) Cert(name string, manifest []byte) ([]byte, error) {
	sum := sha256.Sum256(manifest)
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	return append(fmt.Appendf(nil, "SHA256(%s)= %x\n", name, signature), s.chain...), nil
}

var signatureLine = regexp.MustCompile(`^(SHA256|SHA512) ?\((.+)\) ?= ?([0-9a-f]+)\r?\n$`)

// VerifyCert verifies that the .cert file signs the manifest file of that name, and returns the certificate that did. It
// does not say whether to trust it. SHA-256 and SHA-512 are read. Errors are of kind fault.Untrusted.
func VerifyCert(name string, manifest, cert []byte) (*x509.Certificate, error) {
	c, err := verifyCert(name, manifest, cert)
	if err != nil {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("signature of %s: %w", name, err))
	}
	return c, nil
}

func verifyCert(name string, manifest, cert []byte) (*x509.Certificate, error) {
	head, _, _ := bytes.Cut(cert, []byte("-----BEGIN "))
	line := signatureLine.FindSubmatch(head)
	if line == nil {
		return nil, errors.New("the .cert file does not begin with one line `SHA256(file)= signature`")
	}
	if string(line[2]) != name {
		return nil, fmt.Errorf("it is of %.100q", line[2])
	}
	chain, err := readChain(cert[len(head):])
	if err != nil {
		return nil, err
	}
	signature, err := hex.DecodeString(string(line[3]))
	if err != nil {
		return nil, err
	}
	algorithm := x509.SHA256WithRSA
	if string(line[1]) == "SHA512" {
		algorithm = x509.SHA512WithRSA
	}
	return chain[0], chain[0].CheckSignature(algorithm, manifest, signature)
}

// VerifySignature verifies the manifest's signature and returns the certificate that made it, or nil where the archive
// has none: the manifest itself, with the digests of all other files, is Verify's.
func (a *Archive) VerifySignature() (*x509.Certificate, error) {
	mf, cert := a.first(".mf"), a.first(".cert")
	if cert < 0 {
		return nil, nil
	}
	name := a.Members[cert].Name
	if mf < 0 || cert != mf+1 || strings.TrimSuffix(name, ".cert") != strings.TrimSuffix(a.Members[mf].Name, ".mf") {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("%s does not follow its manifest", name))
	}
	return VerifyCert(a.Members[mf].Name, a.rawMF, a.rawCert)
}

// first returns the place of the first file of a kind, or -1.
func (a *Archive) first(kind string) int {
	return slices.IndexFunc(a.Members, func(m Member) bool { return path.Ext(m.Name) == kind })
}
