package fault

import (
	"errors"
	"fmt"
	"testing"
)

func TestOutermostKindAndHintWin(t *testing.T) {
	base := errors.New("base")
	err := Hint(fmt.Errorf("outer: %w", Mark(Input, Hint(fmt.Errorf("inner: %w", Mark(Untrusted, base)), "inner hint"))), "outer hint")
	if KindOf(err) != Input || HintOf(err) != "outer hint" || !errors.Is(err, base) || err.Error() != "outer: inner: base" {
		t.Errorf("kind %d, hint %q, text %q", KindOf(err), HintOf(err), err)
	}
	if KindOf(nil) != 0 || KindOf(base) != Failed || HintOf(base) != "" || Mark(Input, nil) != nil || Hint(nil, "x") != nil {
		t.Error("plain and nil errors are changed")
	}
}
