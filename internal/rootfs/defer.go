package rootfs

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tool"
)

// deferred are programs that packages' scripts call again and again, each call redoing most of the last one's work.
// While dpkg configures, a stand-in notes the calls; afterwards finish does the work once, and in parallel.
// ssh-keygen is among them for another reason: host keys are made at first boot, never at bake.
var deferred = []string{"usr/sbin/update-initramfs", "usr/sbin/update-ca-certificates", "usr/bin/py3compile", "usr/sbin/depmod", "usr/bin/ssh-keygen"}

// callsDir is where the stand-ins note their calls, a file a program and a line a call.
const callsDir = "run/agibake-calls"

const standIn = "#!/bin/sh\necho \"$*\" >> \"/" + callsDir + "/${0##*/}\"\n"

// deferCalls puts stand-ins in place of the programs that are there. undo brings the programs back.
func deferCalls(r *root, epoch int64) (undo func() error, err error) {
	if err := r.mkdirAll(callsDir); err != nil {
		return nil, err
	}
	var present []string
	for _, name := range deferred {
		if !r.exists(name) {
			continue
		}
		if err := r.rename(name, name+".real"); err != nil {
			return nil, err
		}
		if err := r.writeFile(name, []byte(standIn), 0o755, epoch); err != nil {
			return nil, err
		}
		present = append(present, name)
	}
	return func() error {
		for _, name := range present {
			if err := r.rename(name+".real", name); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// calls returns the argument lists that a deferred program was called with.
func (r *root) calls(program string) []string {
	data, err := r.readFile(callsDir + "/" + program)
	if err != nil {
		return nil // never called
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// compileDriver runs the release's own py3compile for many calls in one interpreter.
//
//go:embed py3compile.py
var compileDriver string

// finish does what was deferred, and makes the boot files of a System.
func finish(ctx context.Context, r *root, c *chroot, o Options, p progress.Func) error {
	g, ctx := errgroup.WithContext(ctx)
	run := func(what, name string, args ...string) error {
		p.Step(stage, what)
		var out scriptLog
		if err := tool.Run(ctx, c.command(&out, name, args...)); err != nil {
			return fmt.Errorf("%s: %w; it said:\n%s", what, err, lastLines(string(out.text), 20))
		}
		return nil
	}
	g.Go(func() error {
		kernels, err := r.kernels()
		if err != nil {
			return err
		}
		for _, version := range kernels {
			if err := kernelFiles(r, o, version, run); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		calls := r.calls("py3compile")
		if calls == nil {
			return nil
		}
		return run("compile python modules", "/usr/bin/python3", append([]string{"-c", compileDriver, strconv.Itoa(o.Jobs)}, calls...)...)
	})
	g.Go(func() error {
		if r.calls("update-ca-certificates") == nil {
			return nil
		}
		return run("certificates", "/usr/sbin/update-ca-certificates", "--fresh")
	})
	if o.Kind == System {
		g.Go(func() error { return coreImage(r, run) })
	}
	return g.Wait()
}
