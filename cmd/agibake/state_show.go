package main

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/state"
)

func newStateShow(a *app) *cobra.Command {
	var at registryFlags
	var keys keyFlags
	files := false
	c := &cobra.Command{
		Use:   "show REF",
		Short: "Show what a snapshot holds",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.stateShow(c.Context(), &at, &keys, args[0], files)
		},
	}
	c.Flags().BoolVar(&files, "files", false, "list every file with its SHA-256")
	keys.flags(c)
	at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// showReport is what state show --json prints.
type showReport struct {
	Digest digest.Digest `json:"digest"`
	Info   state.Info    `json:"info"`
	Sealed bool          `json:"sealed"`
	Blobs  int           `json:"blobs"`
	Stored int64         `json:"stored"` // bytes of them
	Files  []shownFile   `json:"files"`
}

type shownFile struct {
	Path    string `json:"path"`
	Mode    string `json:"mode"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256,omitempty"`
	Records *int64 `json:"records,omitempty"`
	Target  string `json:"target,omitempty"`
}

func (a *app) stateShow(ctx context.Context, at *registryFlags, keys *keyFlags, reference string, files bool) error {
	m, err := at.minds(ctx, reference, false)
	if err != nil {
		return err
	}
	x, err := a.read(ctx, m, keys)
	if err != nil {
		return err
	}
	r := showReport{Digest: x.Index.Digest, Info: x.Info, Sealed: x.Seal != nil, Blobs: len(x.Contents.Blobs), Files: []shownFile{}}
	for _, b := range x.Contents.Blobs {
		r.Stored += b.Size
	}
	for _, e := range x.Tree.Entries {
		f := shownFile{Path: e.Path, Mode: fmt.Sprintf("%c%04o", e.Kind, e.Mode), Size: e.Size, Target: e.Target}
		if e.Kind == state.File {
			f.SHA256 = e.Sum.String()
			if e.Records >= 0 {
				f.Records = &e.Records
			}
		}
		r.Files = append(r.Files, f)
	}
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "%s of %s\n  %s\n", clean(x.Info.Name), x.Info.Created.UTC().Format("2006-01-02 15:04:05 UTC"), r.Digest)
	if x.Info.Note != "" {
		a.fact("note", "%s", x.Info.Note)
	}
	a.fact("state", "%s in %d files, %d records", size(x.Info.Bytes), x.Info.Files, x.Info.Records)
	a.fact("stored", "%s in %d blobs", size(r.Stored), r.Blobs)
	a.fact("tree", "%s", x.Info.Tree)
	if x.Info.Parent != "" {
		a.fact("after", "%s", x.Info.Parent)
	}
	if r.Sealed {
		a.fact("sealed", "with %s", x.Seal.Secret.ID()[:16])
	}
	if l := x.Info.Live; l != nil {
		a.fact("stood still", "%d ms", l.FrozenMS)
		for path, n := range l.Torn {
			a.fact("torn", "%s: %d bytes behind the last whole line", path, n)
		}
	}
	for _, f := range r.Files {
		if !files {
			break
		}
		text := f.Path
		if f.Target != "" {
			text += " -> " + f.Target
		}
		sum := f.SHA256
		if sum == "" {
			sum = fmt.Sprintf("%-64s", "-")
		}
		fmt.Fprintf(a.stdout, "%s %s %12d %s\n", f.Mode, sum, f.Size, clean(text))
	}
	return nil
}
