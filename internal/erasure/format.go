package erasure

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// The format of a part, docs/split.md: a header, a record for each stripe, a tail. Numbers are little-endian.
const (
	headMagic = "agibake part v1\n"
	tailMagic = "agibake tail v1\n"
	headSize  = 512
	tailSize  = 640
	sumSize   = sha256.Size

	maxParts  = 32
	maxName   = 255
	minShard  = 64
	maxShard  = 1 << 20
	maxStripe = 8 << 20 // bytes of all shards of a stripe; it bounds the memory of readers
	maxLength = 1 << 60 // bytes of a stream: no offset in a part overflows
)

// header is what a part begins with.
type header struct {
	id            [16]byte
	number        int // from 1; 0 where the set is meant
	parts, needed int
	shard         int // bytes of every shard but those of the last stripe
	name          string
}

// of returns the header of another part of the set.
func (h header) of(number int) header { h.number = number; return h }

func (h header) marshal() []byte {
	b := make([]byte, headSize)
	copy(b, headMagic)
	copy(b[16:], h.id[:])
	for i, n := range []int{h.number, h.parts, h.needed, len(h.name)} {
		binary.LittleEndian.PutUint16(b[32+2*i:], uint16(n))
	}
	binary.LittleEndian.PutUint32(b[40:], uint32(h.shard))
	copy(b[48:], h.name)
	return seal(b)
}

// seal puts the checksum of all that is before it into the last bytes of b.
func seal(b []byte) []byte {
	sum := sha256.Sum256(b[:len(b)-sumSize])
	copy(b[len(b)-sumSize:], sum[:])
	return b
}

// parseHeader reads headSize bytes. It takes exactly what marshal writes.
func parseHeader(b []byte) (header, bool) {
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	h := header{id: [16]byte(b[16:]), number: u16(32), parts: u16(34), needed: u16(36), shard: int(binary.LittleEndian.Uint32(b[40:]))}
	if u16(38) > maxName {
		return header{}, false
	}
	h.name = string(b[48 : 48+u16(38)])
	if !h.valid() || !bytes.Equal(h.marshal(), b) {
		return header{}, false
	}
	return h, true
}

func (h header) valid() bool {
	return h.parts >= 1 && h.parts <= maxParts && h.needed >= 1 && h.needed <= h.parts && h.number >= 1 && h.number <= h.parts &&
		h.shard >= minShard && h.shard <= maxShard && bits.OnesCount(uint(h.shard)) == 1 && h.parts*h.shard <= maxStripe && goodName(h.name)
}

// tail is what a part ends with.
type tail struct {
	header
	length int64         // bytes of the stream
	stream [sumSize]byte // its SHA-256
	part   [sumSize]byte // SHA-256 of the part up to the tail
}

func (t tail) marshal() []byte {
	b := make([]byte, tailSize)
	copy(b, tailMagic)
	copy(b[16:], t.header.marshal())
	binary.LittleEndian.PutUint64(b[528:], uint64(t.length))
	binary.LittleEndian.PutUint64(b[536:], uint64(t.stripes(t.length)))
	copy(b[544:], t.stream[:])
	copy(b[576:], t.part[:])
	return seal(b)
}

// parseTail reads tailSize bytes. It takes exactly what marshal writes.
func parseTail(b []byte) (tail, bool) {
	h, ok := parseHeader(b[16:][:headSize])
	length := binary.LittleEndian.Uint64(b[528:])
	if !ok || length > maxLength {
		return tail{}, false
	}
	t := tail{h, int64(length), [sumSize]byte(b[544:]), [sumSize]byte(b[576:])}
	if !bytes.Equal(t.marshal(), b) {
		return tail{}, false
	}
	return t, true
}

// stripes returns how many there are of a stream of length bytes.
func (h header) stripes(length int64) int64 {
	full := int64(h.needed * h.shard)
	return (length + full - 1) / full
}

// stripe returns what stripe n holds of a stream of length bytes, and how long each of its shards is.
func (h header) stripe(n, length int64) (data, shard int) {
	full := int64(h.needed * h.shard)
	data = int(min(full, length-n*full))
	return data, (data + h.needed - 1) / h.needed
}

// offset returns where in a part the record of stripe n begins.
func (h header) offset(n int64) int64 { return headSize + n*int64(sumSize+h.shard) }

// tailAt returns where in a part of a stream of length bytes the tail begins.
func (h header) tailAt(length int64) int64 {
	n := h.stripes(length)
	if n == 0 {
		return headSize
	}
	_, last := h.stripe(n-1, length)
	return h.offset(n-1) + int64(sumSize+last)
}

// sum returns the checksum of the shard of stripe n in this part. It knows where it belongs: one in the wrong place is bad.
func (h header) sum(n int64, shard []byte) []byte {
	where := append(make([]byte, 0, 28), h.id[:]...)
	where = binary.LittleEndian.AppendUint32(where, uint32(h.number))
	where = binary.LittleEndian.AppendUint64(where, uint64(n))
	d := sha256.New()
	d.Write(where)
	d.Write(shard)
	return d.Sum(nil)
}
