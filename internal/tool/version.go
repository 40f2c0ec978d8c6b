package tool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// unfit says which versions of a program do not do, and why.
type unfit struct {
	below string   // the first version that does; "" is any
	bad   []string // versions to be refused whatever their age
	why   string
}

var unfits = map[string]unfit{
	"apt-get": {below: "2.4", why: "older ones know no keys within a source (apt-key(8))"},
	"xz":      {bad: []string{"5.6.0", "5.6.1"}, why: "it carries a back door (CVE-2024-3094)"},
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// Fit finds a program as Look does, and asks for its version: one that is known not to do is of kind Missing, too.
func Fit(ctx context.Context, name string) error {
	if _, err := Look(name); err != nil {
		return err
	}
	u, known := unfits[name]
	if !known {
		return nil
	}
	version, err := Version(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case version == "":
		return nil // a build of its own
	case Older(version, u.below):
		err = fmt.Errorf("%s %s is too old, %s is needed: %s", name, version, u.below, u.why)
	case slices.Contains(u.bad, version):
		err = fmt.Errorf("%s %s must not be used: %s", name, version, u.why)
	default:
		return nil
	}
	return fault.Hint(fault.Mark(fault.Missing, err), "sudo apt-get update && sudo apt-get install "+Packages[name])
}

// Version asks a program for its version: digits and dots, or "" where it says none.
func Version(ctx context.Context, name string) (string, error) {
	var out bytes.Buffer // in a plain environment: settings of the caller, such as APT_CONFIG, are not the question
	err := Run(ctx, Cmd{Name: name, Args: []string{"--version"}, Env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, Stdout: &out})
	if err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	return versionNumber.FindString(out.String()), nil
}

// Older compares versions of digits and dots. Nothing is older than "".
func Older(version, than string) bool {
	if than == "" {
		return false
	}
	a, b := numbers(version), numbers(than)
	return slices.Compare(a, b) < 0
}

func numbers(version string) []int {
	var list []int
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		list = append(list, n)
	}
	return list
}
