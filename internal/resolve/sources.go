package resolve

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
)

// suite is one suite of an archive.
type suite struct{ url, name string }

// archive is where one set of packages comes from.
type archive struct {
	distribution, release string
	suites                []suite
	components            []string
	checkValidUntil       bool
	keyring               string // armored
}

var (
	plainWord = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*$`)
	snapshot  = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`)
	mirrorURL = regexp.MustCompile(`^https?://[a-zA-Z0-9._~:/%@+\[\]-]+$`)
)

// moving are Debian's suites without stable updates and security beside them.
var moving = map[string]bool{"testing": true, "unstable": true, "sid": true, "experimental": true, "rc-buggy": true}

// newArchive says which suites a base means.
func newArchive(b recipe.Base, keyrings map[string]string) (*archive, error) {
	a := &archive{distribution: b.Distribution, release: b.Release, components: b.Components, checkValidUntil: true}
	if b.CheckValidUntil != nil {
		a.checkValidUntil = *b.CheckValidUntil
	}
	if err := checkBase(b); err != nil {
		return nil, fault.Mark(fault.Input, err)
	}
	var err error
	if a.keyring = keyrings[b.Distribution]; a.keyring == "" {
		if a.keyring, err = shippedKeyring(b.Distribution); err != nil {
			return nil, err
		}
	}
	if b.Snapshot != "" {
		a.checkValidUntil = false // a snapshot is old by intent
	}
	if b.Distribution == "ubuntu" {
		a.suites = ubuntuSuites(b)
		a.defaultComponents("main", "restricted", "universe")
	} else {
		a.suites = debianSuites(b)
		a.defaultComponents("main")
	}
	return a, nil
}

func (a *archive) defaultComponents(names ...string) {
	if len(a.components) == 0 {
		a.components = names
	}
}

func checkBase(b recipe.Base) error {
	for _, word := range append([]string{b.Release}, b.Components...) {
		if !plainWord.MatchString(word) {
			return fmt.Errorf("%s: %q is not the name of a release or component", b.Distribution, word)
		}
	}
	if b.Mirror != "" && !mirrorURL.MatchString(b.Mirror) {
		return fmt.Errorf("mirror %q: not an http or https address", b.Mirror)
	}
	if b.Snapshot != "" && !snapshot.MatchString(b.Snapshot) {
		return fmt.Errorf("snapshot %q: not a time such as 20261101T000000Z", b.Snapshot)
	}
	return nil
}

// ubuntuSuites: a mirror carries all pockets; without one, security comes from its own host.
func ubuntuSuites(b recipe.Base) []suite {
	main, security := "http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"
	if b.Snapshot != "" {
		main = "https://snapshot.ubuntu.com/ubuntu"
		security = main
	}
	if b.Mirror != "" {
		main = strings.TrimRight(b.Mirror, "/")
		security = main
	}
	if b.Snapshot != "" {
		main += "/" + b.Snapshot
		security += "/" + b.Snapshot
	}
	return []suite{{main, b.Release}, {main, b.Release + "-updates"}, {security, b.Release + "-security"}}
}

// debianSuites: security is an archive of its own, beside the main one and called debian-security. A mirror that is
// not called debian has none, and only its RELEASE is used.
func debianSuites(b recipe.Base) []suite {
	main := "http://deb.debian.org/debian"
	if b.Snapshot != "" {
		main = "http://snapshot.debian.org/archive/debian"
	}
	if b.Mirror != "" {
		main = strings.TrimRight(b.Mirror, "/")
	}
	security, whole := main+"-security", strings.HasSuffix(main, "/debian")
	if b.Snapshot != "" {
		main += "/" + b.Snapshot
		security += "/" + b.Snapshot
	}
	if moving[b.Release] || !whole {
		return []suite{{main, b.Release}}
	}
	return []suite{{main, b.Release}, {main, b.Release + "-updates"}, {security, b.Release + "-security"}}
}

// deb822 is the archive as a file of apt's sources.list.d.
func (a *archive) deb822() string {
	var b strings.Builder
	for _, s := range a.suites {
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nArchitectures: amd64\n",
			s.url, s.name, strings.Join(a.components, " "))
		if !a.checkValidUntil {
			b.WriteString("Check-Valid-Until: no\n")
		}
		fmt.Fprintf(&b, "Signed-By:%s\n\n", deb822(a.keyring))
	}
	return b.String()
}
