package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// locked RECIPE gone|tampered writes the lock of a recipe, so that a script needs no archive to resolve it. Its only
// package is one that the server does not have, or that it has with other bytes than the lock says.
func locked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: locked RECIPE gone|tampered")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if args[1] == "gone" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte("tampered"))
	}))
	ts.Defer(server.Close)
	path := ts.MkAbs(args[0])
	r, err := recipe.Parse(path, recipe.Options{})
	ts.Check(err)
	data, err := lock.Marshal(&lock.Lock{APIVersion: lock.APIVersion, Recipe: *r, System: lock.Packages{
		Distribution: "ubuntu", Release: "jammy", Packages: []lock.Package{{
			Name: "base-files", Version: "1", Architecture: "amd64", URL: server.URL + "/base-files.deb", Size: 8, SHA256: strings.Repeat("0", 64)}},
	}})
	ts.Check(err)
	ts.Check(os.WriteFile(bake.LockPath(path), data, 0o644))
}
