package resolve

import (
	_ "embed" // the keyrings are data files
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

//go:embed keyrings/ubuntu.asc
var ubuntuKeys string

//go:embed keyrings/debian.asc
var debianKeys string

// shippedKeyring returns the armored archive keys of a distribution.
func shippedKeyring(distribution string) (string, error) {
	switch distribution {
	case "ubuntu":
		return ubuntuKeys, nil
	case "debian":
		return debianKeys, nil
	}
	return "", fault.Mark(fault.Input, fmt.Errorf("distribution %q: only ubuntu and debian are known", distribution))
}

// dearmor returns the binary form of one armored block (RFC 9580, section 6.2), which gpgv reads.
func dearmor(armored string) ([]byte, error) {
	_, body, ok := strings.Cut(strings.ReplaceAll(armored, "\r", ""), "\n\n")
	body, _, ended := strings.Cut(body, "\n-----END")
	if !ok || !ended {
		return nil, fmt.Errorf("keyring: not an armored block")
	}
	if i := strings.LastIndex(body, "\n="); i >= 0 {
		body = body[:i] // the checksum
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return data, nil
}

// deb822 writes an armored key as the value of a Signed-By field (sources.list(5), apt 2.3.10).
func deb822(armored string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(armored)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			line = "."
		}
		b.WriteString("\n " + line)
	}
	return b.String()
}
