package state

import "github.com/agibake/agibake/internal/seal"

// Seal is what keeps a snapshot unreadable for others: the secret that all blobs are sealed with, and the secret itself in
// forms that the recipients can open. nil means a snapshot that everyone can read.
type Seal struct {
	Secret *seal.Secret
	Wraps  []seal.Wrap
}
