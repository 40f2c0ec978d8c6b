package sign

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/agibake/agibake/internal/fault"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/cryptoutils/goodkey"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Key is a private key that signs. Nothing prints it: its text form is the fingerprint of its public half.
type Key struct {
	signer   signature.Signer
	verifier *Verifier
}

// Verifier is a public key that verifies.
type Verifier struct {
	verifier signature.Verifier
	der      []byte // SubjectPublicKeyInfo
}

// GenerateKeyPair makes an ECDSA P-256 key pair as `cosign generate-key-pair` does: the private half encrypted with the
// password (scrypt and NaCl's secretbox), both as PEM. An empty password is allowed, and protects nothing.
func GenerateKeyPair(password []byte) (private, public []byte, err error) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("generate key pair: %w", err)
	}
	return pair.PrivateBytes, pair.PublicBytes, nil
}

// LoadPrivate reads a private key of cosign's. Errors are of kind fault.Input and hold neither key nor password.
func LoadPrivate(text, password []byte) (*Key, error) {
	key, err := loadPrivate(text, password)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("load private key: %w", err))
	}
	return key, nil
}

func loadPrivate(text, password []byte) (*Key, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, fault.Hint(err, "a private key is a file like the cosign.key that `agibake keygen` writes")
	}
	if err := checkPrivateType(block.Type); err != nil {
		return nil, err
	}
	if err := checkSealed(block.Bytes); err != nil {
		return nil, err
	}
	der, err := encrypted.Decrypt(block.Bytes, password)
	if err != nil {
		return nil, fault.Hint(errors.New("wrong password, or the file is damaged"),
			"give the password in AGIBAKE_KEY_PASSWORD or COSIGN_PASSWORD, or at the prompt")
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("what it holds is no PKCS #8 key")
	}
	return newKey(private)
}

func newKey(private crypto.PrivateKey) (*Key, error) {
	// SHA-256 for every kind of key, as `cosign verify --key` expects it.
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, errors.New("no ECDSA, RSA or Ed25519 key")
	}
	public, err := signer.PublicKey()
	if err != nil {
		return nil, errors.New("it has no public half")
	}
	verifier, err := newVerifier(public)
	if err != nil {
		return nil, err
	}
	return &Key{signer, verifier}, nil
}

// LoadPublic reads a public key in PEM: ECDSA (P-256, P-384, P-521), RSA (2048, 3072 or 4096 bits) or Ed25519. Errors
// are of kind fault.Input.
func LoadPublic(text []byte) (*Verifier, error) {
	v, err := loadPublic(text)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("load public key: %w", err))
	}
	return v, nil
}

func loadPublic(text []byte) (*Verifier, error) {
	block, err := onlyBlock(text)
	if err != nil {
		return nil, fault.Hint(err, "a public key is a file like the cosign.pub that `agibake keygen` writes")
	}
	if isPrivate(block.Type) {
		return nil, fault.Hint(errors.New("this is a private key"), "verifying needs the public half, cosign.pub; keep the private one to yourself")
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, errors.New("what it holds is no public key")
	}
	return newVerifier(public)
}

func newVerifier(public crypto.PublicKey) (*Verifier, error) {
	// Short or factorable RSA, points off their curve: cosign's own rules for new keys.
	if err := goodkey.ValidatePubKey(public); err != nil {
		return nil, fmt.Errorf("a weak or unusual key: %w", err)
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, errors.New("no ECDSA, RSA or Ed25519 key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, errors.New("the key has no standard form")
	}
	return &Verifier{verifier, der}, nil
}

// Public returns the public half.
func (k *Key) Public() *Verifier { return k.verifier }

// String returns the fingerprint of the public half.
func (k *Key) String() string { return k.verifier.String() }

// GoString is String: %#v prints no secret either.
func (k *Key) GoString() string { return k.String() }

// PEM returns the key in the form that LoadPublic reads.
func (v *Verifier) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: string(cryptoutils.PublicKeyPEMType), Bytes: v.der})
}

// Fingerprint returns the SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280, section 4.1) in DER, in hex.
func (v *Verifier) Fingerprint() string {
	sum := sha256.Sum256(v.der)
	return hex.EncodeToString(sum[:])
}

// String returns "sha256:" and the fingerprint.
func (v *Verifier) String() string { return "sha256:" + v.Fingerprint() }

// hint names the key in a bundle, as cosign does.
func (v *Verifier) hint() string {
	sum := sha256.Sum256(v.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}
