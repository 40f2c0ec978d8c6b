package resolve

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// fingerprints are the primary keys that agibake ships, as keyrings/README.md documents them.
var fingerprints = map[string][]string{
	"ubuntu": {
		"790BC7277767219C42C86F933B4FE6ACC0B21F32",
		"F6ECB3762474EDA9D21B7022871920D1991BC93C",
	},
	"debian": {
		"04B54C3CDCA79751B16BC6B5225629DF75B188BD",
		"05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",
		"1F89983E0081FDE018F3CC9673A4F27B8DD47936",
		"41587F7DB8C774BCCF131416762F67A0B2C39DE4",
		"4D64FEC119C2029067D6E791F8D2585B8783D481",
		"5E04A1E3223A19A20706E20F9904613D4CCE68C6",
		"A4285295FC7B1A81600062A9605C66F00D6C9793",
		"AC530D520F2F3269F5E98313A48449044AAD5C5D",
		"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
	},
}

// TestKeyrings asks gpg which keys are shipped, and holds data and documents against each other.
func TestKeyrings(t *testing.T) {
	referee.Need(t, "gpg")
	readme, err := os.ReadFile("keyrings/README.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/lock.md")
	if err != nil {
		t.Fatal(err)
	}
	for distribution, want := range fingerprints {
		armored, err := shippedKeyring(distribution)
		if err != nil {
			t.Fatal(err)
		}
		binary, err := dearmor(armored)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "keyring.gpg")
		if err := os.WriteFile(file, binary, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("gpg", "--batch", "--homedir", t.TempDir(), "--with-colons", "--show-keys", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		primary := false
		for line := range strings.Lines(string(out)) {
			f := strings.Split(line, ":")
			switch {
			case f[0] == "pub":
				primary = true
			case f[0] == "fpr" && primary:
				got, primary = append(got, f[9]), false
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", distribution, got)
		}
		for _, fpr := range want {
			if !strings.Contains(string(readme), fpr) || !strings.Contains(string(doc), fpr) {
				t.Errorf("%s: not in keyrings/README.md and docs/lock.md", fpr)
			}
		}
	}
	if _, err := shippedKeyring("arch"); err == nil {
		t.Error("a keyring for an unknown distribution")
	}
	for _, bad := range []string{"", "-----BEGIN\n\nnot base64!\n-----END", "-----BEGIN\n\nAAAA"} {
		if _, err := dearmor(bad); err == nil {
			t.Errorf("dearmor %q", bad)
		}
	}
}
