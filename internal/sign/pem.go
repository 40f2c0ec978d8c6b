package sign

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/agibake/agibake/internal/fault"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// onlyBlock returns the PEM block that text consists of, written in the one usual way: only then does every byte count.
// Line ends may be CR LF, and the last may be missing.
func onlyBlock(text []byte) (*pem.Block, error) {
	if len(text) > MaxKey {
		return nil, fmt.Errorf("%d bytes are too many for a key", len(text))
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text[:len(text):len(text)], '\n')
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM file")
	}
	if len(block.Headers) > 0 || !bytes.Equal(pem.EncodeToMemory(block), text) {
		return nil, errors.New("damaged, or more than the lines from BEGIN to END")
	}
	return block, nil
}

// isSealed tells whether a PEM type is of cosign's encrypted keys, isPlain whether of a private key without a password.
func isSealed(kind string) bool {
	return kind == cosign.SigstorePrivateKeyPemType || kind == cosign.CosignPrivateKeyPemType
}

func isPlain(kind string) bool {
	return kind == cosign.PrivateKeyPemType || kind == cosign.ECPrivateKeyPemType || kind == cosign.RSAPrivateKeyPemType
}

func isPrivate(kind string) bool { return isSealed(kind) || isPlain(kind) }

func checkPrivateType(kind string) error {
	switch {
	case isSealed(kind):
		return nil
	case isPlain(kind):
		return fault.Hint(errors.New("the key is not encrypted"), "encrypt it with `cosign import-key-pair --key FILE`")
	case kind == string(cryptoutils.PublicKeyPEMType), kind == string(cryptoutils.PKCS1PublicKeyPEMType):
		return fault.Hint(errors.New("this is a public key"), "signing needs the private half, cosign.key")
	}
	return fault.Hint(errors.New("no private key of cosign's"), "`agibake keygen` makes one")
}

// sealed is the JSON inside a private key's PEM.
type sealed struct {
	KDF struct {
		Name   string `json:"name"`
		Params struct {
			N int `json:"N"`
			R int `json:"r"`
			P int `json:"p"`
		} `json:"params"`
		Salt []byte `json:"salt"`
	} `json:"kdf"`
	Cipher struct {
		Name  string `json:"name"`
		Nonce []byte `json:"nonce"`
	} `json:"cipher"`
	Ciphertext []byte `json:"ciphertext"`
}

// checkSealed refuses JSON that is not written exactly as cosign writes it: no altered byte may pass.
func checkSealed(text []byte) error {
	var s sealed
	if json.Unmarshal(text, &s) != nil {
		return errors.New("what it holds is no encrypted key")
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, text) {
		return errors.New("the file is damaged: the encrypted key has an unknown form")
	}
	return nil
}
