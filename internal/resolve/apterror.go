package resolve

import (
	"errors"
	"fmt"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// ErrArchive says that an archive's signature or digests do not hold. Its kind is fault.Untrusted.
var ErrArchive = fault.Mark(fault.Untrusted, errors.New("the archive is not trusted"))

// aptError turns the words of a failed "apt-get update" into an error of the right kind.
func aptError(t *apt, out string, err error) error {
	text := lines(out, "E: ")
	if text == "" {
		text = err.Error()
	}
	where := fmt.Sprintf("package lists of %s %s", t.archive.distribution, t.archive.release)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(out, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("No space left on device", "Disk quota exceeded"):
		return fault.Hint(fmt.Errorf("%s: %s", where, text), "make room on the disk of "+t.dir+", for example with: agibake cache prune")
	case has("is expired", "is not valid yet"):
		return fault.Hint(fmt.Errorf("%s: %w: %s", where, ErrArchive, text),
			"check this host's clock; for an archive that stopped being renewed set checkValidUntil: false (signatures stay checked)")
	case has("NO_PUBKEY", "BADSIG", "EXPKEYSIG", "REVKEYSIG", "is not signed", "no longer signed", "invalid signature", "Hash Sum mismatch",
		"signatures were invalid", "couldn't be verified", "NODATA", "not signed by", "unexpected size", "Clearsigned file isn't valid",
		"Certificate verification failed"):
		return fault.Hint(fmt.Errorf("%s: %w: %s", where, ErrArchive, text),
			"someone between here and the archive changed it, or the mirror is being updated: try again, then another mirror")
	case has("Could not resolve", "Temporary failure", "Could not connect", "Unable to connect", "Connection failed", "timed out",
		"Network is unreachable", "Connection refused", "Could not handshake", "Connection reset", "Error reading from server", "Undetermined Error"):
		return fault.Hint(fmt.Errorf("%s: the archive cannot be reached, or not for long enough: %s", where, text),
			"check the network, or set base.mirror; --offline uses the lists fetched before")
	case has("does not have a Release file", "404  Not Found"):
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s: no such release or component there: %s", where, text)),
			"check base.release, base.components and base.mirror")
	}
	return fault.Hint(fmt.Errorf("%s: %s", where, text), "try again, then another base.mirror")
}
