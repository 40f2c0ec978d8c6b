package trust

import "golang.org/x/mod/semver"

// isVersion tells whether s is a version that can be compared: 1, 1.2 or 1.2.3, with -pre and +build (semver.org 2.0).
func isVersion(s string) bool { return semver.IsValid("v" + s) }

// older tells whether a comes before b; both are versions.
func older(a, b string) bool { return semver.Compare("v"+a, "v"+b) < 0 }
