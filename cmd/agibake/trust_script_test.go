package main

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	tiny "github.com/agibake/agibake/internal/sample"
)

// scriptT lets a script make samples.
type scriptT struct{ *testscript.TestScript }

func (s scriptT) Helper()                  {}
func (s scriptT) Fatal(args ...any)        { s.Fatalf("%v", args) }
func (s scriptT) Context() context.Context { return context.Background() }
func (s scriptT) TempDir() string {
	dir, err := os.MkdirTemp(s.MkAbs("."), "sample-")
	s.Check(err)
	return dir
}

// appliance FOLDER VERSION [MOTD] writes a small appliance that no machine can start.
func appliance(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: appliance FOLDER VERSION [MOTD]")
	}
	tiny.Appliance(scriptT{ts}, ts.MkAbs(args[0]), tiny.Spec{Version: args[1], Motd: strings.Join(args[2:], " ")})
}

// serve starts a registry and sets REGISTRY to its host.
func serve(ts *testscript.TestScript, _ bool, _ []string) {
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(server.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
}

// flip FILE changes one bit in the middle of a file, in place.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	data[len(data)/2] ^= 1
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt(data, 0)
	ts.Check(err)
	ts.Check(f.Close())
}

// spoil LAYOUT changes one bit of each blob that is no JSON document.
func spoil(ts *testscript.TestScript, _ bool, args []string) {
	blobs, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "blobs", "sha256", "*"))
	ts.Check(err)
	for _, file := range blobs {
		data, err := os.ReadFile(file)
		ts.Check(err)
		if len(data) > 0 && data[0] != '{' {
			data[len(data)/2] ^= 1
			ts.Check(os.WriteFile(file, data, 0o644))
		}
	}
}
