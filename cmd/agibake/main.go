// Command agibake turns a YAML recipe into a bootable appliance that proves itself at every start.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
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
		newInit(a), newSchema(a), newLock(a), newBake(a), newBoot(a), newInspect(a),
		newKeygen(a), newSign(a), newVerify(a), newSBOM(a), newPush(a), newPull(a), newState(a), newMigrate(a), newMigrateEnd(), newFidelity(a), newCache(a), newDoctor(a),
	)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages ", fmt.Sprintf("FlagUsagesWrapped %d ", columns)))
	finish(root)
	return root
}

// finish makes every command's help fit a terminal, and its wrong arguments a fault of the command line.
func finish(c *cobra.Command) {
	c.Long = reflow(c.Long)
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error { return usage(c, wrongArgs(c, args, check(c, args))) }
	}
	for _, sub := range c.Commands() {
		finish(sub)
	}
}

// wrongArgs adds to err, unless it is nil, what would have been right.
func wrongArgs(c *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	if c.HasParent() {
		return fmt.Errorf("%w; usage: %s", err, strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
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
