package tool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
)

func TestFit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, c := range []struct{ name, says, want string }{
		{"apt-get", "apt 2.2.4 (amd64)", "apt-get 2.2.4 is too old, 2.4 is needed"},
		{"apt-get", "apt 2.4 (amd64)", ""},
		{"apt-get", "apt 2.4.14 (amd64)", ""},
		{"apt-get", "apt 10.0 (amd64)", ""},
		{"apt-get", "no number", ""},
		{"xz", "xz (XZ Utils) 5.6.1\nliblzma 5.6.1", "xz 5.6.1 must not be used"},
		{"xz", "xz (XZ Utils) 5.4.1\nliblzma 5.6.1", ""},
		{"gpgv", "gpgv (GnuPG) 0.1", ""},
	} {
		script := "#!/bin/sh\ncat <<.\n" + c.says + "\n.\n"
		if err := os.WriteFile(filepath.Join(dir, c.name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		err := Fit(t.Context(), c.name)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.says, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Missing || fault.HintOf(err) == ""):
			t.Errorf("%q: %v", c.says, err)
		}
	}
}
