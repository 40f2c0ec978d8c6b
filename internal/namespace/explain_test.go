package namespace

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agibake/agibake/internal/fault"
)

// TestRestrictionsAreNamed pretends each switch that a host may have set.
func TestRestrictionsAreNamed(t *testing.T) {
	real := restrictions
	defer func() { restrictions = real }()
	for i, want := range []struct{ hint, setup string }{
		{"AppArmor", "profile agibake \"/opt/my bin/agibake\" flags=(unconfined) {\n  userns,\n}"},
		{"unprivileged_userns_clone=1", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"max_user_namespaces=", "sysctl -w user.max_user_namespaces="},
	} {
		file := filepath.Join(t.TempDir(), "switch")
		if err := os.WriteFile(file, []byte(real[i].value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := real[i]
		r.file = file
		restrictions = restrictions[:0:0]
		restrictions = append(restrictions, r)
		err := explain(syscall.EPERM)
		if fault.KindOf(err) != fault.Missing || !strings.Contains(fault.HintOf(err), want.hint) {
			t.Errorf("%s: %v, hint %q", real[i].file, err, fault.HintOf(err))
		}
		if got := strings.Join(lift("/opt/my bin/agibake"), "\n"); !strings.Contains(got, want.setup) {
			t.Errorf("%s: root is to run %q", real[i].file, got)
		}
		if got := lift("/a\"b"); got != nil {
			t.Errorf("%s: a path that cannot be written there gives %q", real[i].file, got)
		}
	}
}
