// Package fault gives errors the two things a command needs beyond their text:
// the kind that decides the exit code, and a hint that tells a person what to do next.
package fault

import "errors"

// Kind classifies an error. Its value is the process exit code (design, section 5).
type Kind int

// The exit codes of agibake, in one table. Text gives the words shown in help.
const (
	Failed      Kind = 1   // anything not listed below
	Usage       Kind = 2   // wrong flags or arguments
	Input       Kind = 3   // the recipe or another input is bad
	Untrusted   Kind = 4   // a signature or digest does not hold
	CheckFailed Kind = 5   // the self-test or fidelity check failed
	Missing     Kind = 6   // a tool or host feature is missing
	Interrupted Kind = 130 // stopped by a signal
)

// Kinds lists the exit codes with the text that help shows for each.
var Kinds = []struct {
	Code Kind
	Text string
}{
	{0, "done"},
	{Failed, "failed"},
	{Usage, "usage"},
	{Input, "the recipe or another input is bad"},
	{Untrusted, "not trusted (signature, digest)"},
	{CheckFailed, "the self-test or fidelity check failed"},
	{Missing, "a tool or host feature is missing"},
	{Interrupted, "interrupted"},
}

type fault struct {
	err  error
	kind Kind
	hint string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// Mark returns err with a kind. The outermost kind in a chain wins. A nil err stays nil.
func Mark(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &fault{err: err, kind: kind}
}

// Hint returns err with advice for a person, printed on a line of its own by cmd only.
// The outermost hint in a chain wins. A nil err stays nil.
func Hint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &fault{err: err, hint: hint}
}

// KindOf returns the kind of err, Failed if none was marked, and 0 for nil.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	for f := (*fault)(nil); errors.As(err, &f); err = f.err {
		if f.kind != 0 {
			return f.kind
		}
	}
	return Failed
}

// HintOf returns the advice carried by err, or "".
func HintOf(err error) string {
	for f := (*fault)(nil); err != nil && errors.As(err, &f); err = f.err {
		if f.hint != "" {
			return f.hint
		}
	}
	return ""
}
