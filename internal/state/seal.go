package state

import (
	"context"

	"github.com/agibake/agibake/internal/seal"
)

// Seal is what keeps a snapshot unreadable for others: the secret that all blobs are sealed with, and the secret itself in
// forms that the recipients can open. nil means a snapshot that everyone can read.
type Seal struct {
	Secret *seal.Secret
	Wraps  []seal.Wrap
}

// Opener opens what is sealed with this very secret; it is nil for nil.
func (s *Seal) Opener() Opener {
	if s == nil {
		return nil
	}
	return func(context.Context, []seal.Wrap) (*seal.Secret, error) { return s.Secret, nil }
}
