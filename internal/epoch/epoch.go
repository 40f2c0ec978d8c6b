// Package epoch replaces the clock and the random source of a bake, so that the same lock gives the same bytes.
package epoch

import (
	"crypto/sha256"
	"fmt"
)

// UUID derives a UUID from a seed (a lock's digest) and a purpose ("system", "esp", …): the first 16 bytes of
// SHA-256(seed NUL purpose) with version 8, variant 1 (RFC 9562, section 5.8).
func UUID(seed, purpose string) [16]byte {
	sum := sha256.Sum256([]byte(seed + "\x00" + purpose))
	u := [16]byte(sum[:16])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

// String formats a UUID in the 8-4-4-4-12 form (RFC 9562, section 4).
func String(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Clamp returns t, or limit where t is later: file times from inputs stay, times of the build do not.
func Clamp(t, limit int64) int64 { return min(t, limit) }
