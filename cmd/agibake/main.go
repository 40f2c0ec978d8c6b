// Command agibake turns a YAML recipe into a bootable appliance that proves itself at every start.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/rootfs"
)

// version is set by the Makefile.
var version = "devel"

func main() {
	namespace.Main(rootfs.Tasks())
	os.Exit(run(os.Args[1:]))
}

// run executes one command line and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Later a second Ctrl-C ends the program at once. At first it may be the same one: timeout(1) signals twice.
	context.AfterFunc(ctx, func() { time.AfterFunc(2*time.Second, stop) })
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil {
		err = fault.Mark(fault.Interrupted, errors.New("interrupted"))
	}
	return a.fail(err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "agibake",
		Short:         "Bake a language model into a machine that starts, answers and proves itself",
		Long:          "agibake turns a YAML recipe into a bootable Ubuntu appliance with its model, as qcow2, VMDK and OVA.\n\n" + exitCodes(),
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.AddCommand(
		newInit(a), newSchema(a), newLock(a), newBake(a), newBoot(a), newInspect(a), newCache(a), newDoctor(a),
	)
	for _, c := range append(root.Commands(), root) {
		if c.Args != nil {
			check := c.Args
			c.Args = func(c *cobra.Command, args []string) error { return usage(c, check(c, args)) }
		}
	}
	return root
}

// usage marks err as a fault of the command line.
func usage(c *cobra.Command, err error) error {
	return fault.Hint(fault.Mark(fault.Usage, err), c.CommandPath()+" --help")
}

func exitCodes() string {
	text := "Exit codes:\n"
	for _, k := range fault.Kinds {
		text += fmt.Sprintf("  %3d  %s\n", k.Code, k.Text)
	}
	return text
}
