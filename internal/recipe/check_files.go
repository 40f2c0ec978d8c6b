package recipe

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Units that agibake writes itself.
var ownUnits = []string{"agi-core.target", "agi-state.service", "agi-model.service", "agid.service", "agi-selftest.service"}

func (d *decoder) checkFiles(files []File) {
	for i := range files {
		f, at := &files[i], item("files", i)
		d.place(at+".path", f.Path, "")
		switch {
		case f.Content != "" && f.Source != "":
			d.wrong(at, "", "content and source exclude each other")
		case f.Source == "" && !d.written(at+".content"):
			d.wrong(at, "", "needs content or source")
		}
		d.local(at+".source", &f.Source, "", aFile, "")
	}
}

func (d *decoder) checkUnits(units []Unit) {
	for i, u := range units {
		at := item("units", i) + ".name"
		if slices.Contains(ownUnits, u.Name) {
			d.wrong(at, "", "two units of one name: agibake writes %s itself", u.Name)
		}
		if len(u.Name) > 255 || strings.HasPrefix(u.Name, ".") || strings.HasPrefix(u.Name, "-") {
			d.wrong(at, "", "%s is not %s", quote(u.Name), keys["units[].name"].expects)
		}
	}
}

var shareSources = map[string]struct {
	pattern *regexp.Regexp
	expects string
}{
	"nfs":      {re(`^([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):/\S*$`), "HOST:/EXPORT"},
	"smb":      {re(`^//[^/\s]+/[^/\s]\S*$`), "//HOST/SHARE"},
	"virtiofs": {re(`^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$`), "a tag of at most 36 letters, digits, dots and dashes"},
	"9p":       {re(`^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$`), "a tag of at most 31 letters, digits, dots and dashes"},
	"vboxsf":   {re(`^[^/\s]+$`), "the name of a shared folder"},
	"vmhgfs":   {re(`^\.host:/\S*$`), ".host:/NAME"},
}

func (d *decoder) checkShares(shares []Share) {
	for i, s := range shares {
		at := item("shares", i)
		d.place(at+".target", s.Target, "")
		if want, ok := shareSources[s.Type]; ok && s.Source != "" && !want.pattern.MatchString(s.Source) {
			d.wrong(at+".source", "", "%s is not %s, as %s wants it", quote(s.Source), want.expects, s.Type)
		}
	}
}

func (d *decoder) checkUsers(users []User) {
	for i, u := range users {
		for j, key := range u.AuthorizedKeys {
			at := fmt.Sprintf("access.users[%d].authorizedKeys[%d]", i, j)
			if strings.Contains(key, "PRIVATE KEY") {
				d.wrong(at, "take the .pub file beside it", "a private key must never stand in a recipe")
			} else if !publicKey(key) {
				d.wrong(at, "", `%s is not an SSH public key such as "ssh-ed25519 AAAA… comment"`, quote(key))
			}
		}
	}
}

var keyTypes = []string{"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"}

// publicKey reports whether s is "TYPE BASE64 [COMMENT]", where the data begins with the type again (RFC 4253, 6.6)
// and holds whole fields.
func publicKey(s string) bool {
	parts := strings.SplitN(s, " ", 3)
	if len(parts) < 2 || strings.ContainsAny(s, "\n\r\t") || !slices.Contains(keyTypes, parts[0]) {
		return false
	}
	data, err := base64.StdEncoding.DecodeString(parts[1])
	for n := 0; err == nil && len(data) > 0; n++ {
		if len(data) < 4 || uint64(binary.BigEndian.Uint32(data)) > uint64(len(data)-4) {
			return false
		}
		size := binary.BigEndian.Uint32(data)
		if n == 0 && string(data[4:4+size]) != parts[0] {
			return false
		}
		data = data[4+size:]
		if n > 0 && len(data) == 0 {
			return true
		}
	}
	return false
}
