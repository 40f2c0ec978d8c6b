package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/trust"
)

type exportFlags struct {
	at      registryFlags
	keys    keyFlags
	trust   trustFlags
	out     string
	exclude []string
	docker  string
}

func newStateExport(a *app) *cobra.Command {
	f := &exportFlags{}
	c := &cobra.Command{
		Use:   "export REF|FOLDER",
		Short: "Write a state as one archive, for scp, rsync and USB sticks",
		Long: `Write a snapshot, or a state folder, as one tar: the state below agi-core/, and MD5SUMS and SHA256SUMS of all its
files behind it. Any tar unpacks it, md5sum -c and sha256sum -c check it. Equal snapshots give equal archives. The archive
is not sealed: whoever has it can read it.`,
		Example: `  agibake state export oci:saiga -o /media/usb/saiga.tar.zst
  agibake state export /var/lib/agi-core -o agi-state.tar.gz
  tar -xf saiga.tar.zst && cd agi-core && md5sum -c MD5SUMS`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.stateExport(c.Context(), c, f, args[0]) },
	}
	c.Flags().StringVarP(&f.out, "output", "o", "", "`FILE`.tar.zst, .tar.gz or .tar; agi-state-DATE.tar.zst by default")
	c.Flags().StringArrayVar(&f.exclude, "exclude", nil, "`PATTERN` of paths, or of names, of a folder to leave out; may be repeated")
	c.Flags().StringVar(&f.docker, "docker", "", "`PROGRAM` that pauses containers; docker if it answers, none leaves them alone")
	f.keys.flags(c)
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// exportReport is what state export --json prints.
type exportReport struct {
	File    string         `json:"file"`
	Size    int64          `json:"size"`
	SHA256  string         `json:"sha256"`
	Digest  digest.Digest  `json:"digest,omitempty"` // of the snapshot
	Verdict *trust.Verdict `json:"verdict,omitempty"`
	state.Exported
}

// archiveKind tells by its name how an archive is compressed.
func archiveKind(c *cobra.Command, file string) (layer.Compression, error) {
	for suffix, kind := range map[string]layer.Compression{".tar.zst": layer.Zstd, ".tar.gz": layer.Gzip, ".tgz": layer.Gzip, ".tar": layer.None} {
		if strings.HasSuffix(file, suffix) {
			return kind, nil
		}
	}
	return layer.None, usage(c, fmt.Errorf("-o %s: the name must end in .tar.zst, .tar.gz or .tar", file))
}

// exporting is what is exported, from a snapshot or a folder.
type exporting struct {
	write func(w *summed, o state.ExportOptions) (*state.Exported, error)
	date  time.Time
	free  func()
}

func (a *app) stateExport(ctx context.Context, c *cobra.Command, f *exportFlags, from string) error {
	show, done := a.progress()
	defer done()
	var r exportReport
	source, err := a.exportFrom(ctx, c, f, from, show, &r)
	if err != nil {
		return err
	}
	defer source.free()
	if r.File = f.out; r.File == "" {
		r.File = "agi-state-" + source.date.UTC().Format("2006-01-02") + ".tar.zst"
	}
	kind, err := archiveKind(c, r.File)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(r.File); !errors.Is(err, fs.ErrNotExist) {
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s is there already", r.File)), "name another file with -o, or remove it")
	}
	file, err := atomicfile.CreatePrivate(r.File) // it can be read by whoever has it
	if err != nil {
		return err
	}
	defer file.Abort()
	w := newSummed(file)
	got, err := source.write(w, state.ExportOptions{Compression: kind, Progress: show})
	if err == nil {
		err = file.Commit()
	}
	if err != nil {
		return err
	}
	done()
	r.Exported, r.Size, r.SHA256 = *got, w.size, w.hex()
	if a.jsonOut {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.stdout, "%s is written to %s\n", from, r.File)
	a.signers(r.Verdict)
	a.fact("state", "%s in %d files", size(r.Bytes), r.Files)
	a.fact("archive", "%s", size(r.Size))
	a.fact("sha256", "%s", r.SHA256)
	return nil
}

// exportFolder finds what there is in a folder that may be in use.
func (a *app) exportFolder(ctx context.Context, f *exportFlags, root string, show progress.Func) (*exporting, error) {
	if err := state.Holds(root); err != nil {
		return nil, fault.Hint(err, "name a state root, or oci:"+root+" if snapshots are kept there")
	}
	found, err := state.Collect(ctx, root, state.CollectOptions{Docker: f.docker, Progress: show,
		Scan: state.ScanOptions{Exclude: f.exclude, Skipped: func(path string) { show.Warn("export", path+" is neither file nor folder, and left out") }}})
	if err != nil {
		return nil, err
	}
	e := &exporting{date: time.Now(), free: found.Close, write: func(w *summed, o state.ExportOptions) (*state.Exported, error) {
		return state.ExportFound(ctx, found.List, w, o)
	}}
	if e.free == nil {
		e.free = func() {}
	}
	return e, nil
}

// exportFrom opens what is exported.
func (a *app) exportFrom(ctx context.Context, c *cobra.Command, f *exportFlags, from string, show progress.Func, r *exportReport) (*exporting, error) {
	if info, err := os.Stat(from); err == nil && info.IsDir() {
		return a.exportFolder(ctx, f, from, show)
	}
	if len(f.exclude) > 0 {
		return nil, usage(c, errors.New("--exclude is for folders: a snapshot is exported whole"))
	}
	m, err := f.at.minds(ctx, from, false)
	if err != nil {
		return nil, fault.Hint(err, "name a state folder, "+stateRef)
	}
	d, err := m.find(ctx)
	if err != nil {
		return nil, err
	}
	x, err := state.Look(ctx, m, d)
	if err != nil {
		return nil, err
	}
	if r.Verdict, err = a.judgeState(ctx, c, m, &f.trust, x); err != nil { // before anything of it is read
		return nil, err
	}
	if x, err = state.Read(ctx, m, d, a.opener(m, &f.keys)); err != nil {
		return nil, err
	}
	if x.Seal != nil {
		fmt.Fprintf(a.stderr, "WARNING: the snapshot is sealed and the archive is not: whoever has the file can read it\n")
	}
	r.Digest = d.Digest
	return &exporting{date: x.Info.Created, free: func() {}, write: func(w *summed, o state.ExportOptions) (*state.Exported, error) {
		return x.Export(ctx, m, w, o)
	}}, nil
}
