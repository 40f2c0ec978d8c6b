package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of OpenPGP packets (RFC 9580, section 5; 20 is GnuPG's own for OCB).
const (
	packetSessionKey = 1
	packetSealed     = 18
	packetSealedOCB  = 20
)

var errPackets = errors.New("damaged: no OpenPGP message for public keys")

const maxGPGKeys = 100

// gpgKeys returns the key ids, in hex, that an OpenPGP message is for. It takes binary messages for public keys alone:
// with anything else, gpg might ask a person for a passphrase of a stranger's choice.
func gpgKeys(data []byte) (ids []string, err error) {
	for len(ids) <= maxGPGKeys {
		if len(data) == 0 || data[0]&0x80 == 0 {
			return nil, errPackets
		}
		tag := data[0] >> 2 & 15
		if data[0]&0x40 != 0 {
			tag = data[0] & 63
		}
		if (tag == packetSealed || tag == packetSealedOCB) && len(ids) > 0 {
			return ids, nil
		}
		head, size := packetSize(data)
		if tag != packetSessionKey || head == 0 || size < 10 || uint64(head)+uint64(size) > uint64(len(data)) {
			return nil, errPackets
		}
		if data[head] != 3 { // the version that has a key id of 8 bytes
			return nil, errPackets
		}
		ids = append(ids, fmt.Sprintf("%X", data[head+1:head+9]))
		data = data[head+int(size):]
	}
	return nil, errPackets
}

// packetSize returns the bytes of a packet's header and of its body (RFC 9580, section 4.2), or 0 for a header that is cut
// off or of no fixed length.
func packetSize(data []byte) (head int, size uint32) {
	at := append(bytes.Clone(data[1:min(len(data), 6)]), make([]byte, 5)...) // so that no index is out of range
	switch old := data[0]&0x40 == 0; {
	case old && data[0]&3 == 0, !old && at[0] < 192:
		return 2, uint32(at[0])
	case old && data[0]&3 == 1:
		return 3, uint32(binary.BigEndian.Uint16(at))
	case old && data[0]&3 == 2:
		return 5, binary.BigEndian.Uint32(at)
	case !old && at[0] < 224:
		return 3, uint32(at[0]-192)<<8 + uint32(at[1]) + 192
	case !old && at[0] == 255:
		return 6, binary.BigEndian.Uint32(at[1:])
	}
	return 0, 0
}
