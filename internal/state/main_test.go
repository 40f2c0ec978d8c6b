package state

import (
	"fmt"
	"os"
	"testing"
)

// work is a folder for what several tests share.
var work string

// TestMain lets the test program be the one that is killed: child VERB ARGUMENT….
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if work, err = os.MkdirTemp("", "agibake-state-test-*"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(work)
	return m.Run()
}
