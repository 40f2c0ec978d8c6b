// Command agid is the agent inside an appliance: state and identity at boot, the status page, the self-test.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/agent"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/migrate"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/wire"
)

// version is set by the linker.
var version = "unknown"

const usage = `usage: agid COMMAND
  state      mount and grow the state partition, give the machine its identity (agi-state.service)
  serve      answer /healthz and show the status page (agid.service)
  selftest   test this machine and report (agi-selftest.service); exit 5 if it fails
  version    print the version
  migrate-end OPTIONS
             one end of a migration, over stdin and stdout (agibake migrate)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "agid:", err)
	}
	os.Exit(int(fault.KindOf(err)))
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "migrate-end" {
		return migrate.End(ctx, args[1], os.Stdin, os.Stdout)
	}
	if len(args) != 1 {
		return fault.Mark(fault.Usage, fmt.Errorf("want one command\n%s", usage))
	}
	system := agent.NewSystem()
	switch args[0] {
	case "state":
		return errors.Join(system.State(ctx), state.Settle(wire.StateRoot)) // a restore that a power cut interrupted
	case "serve":
		return serve(ctx, system)
	case "selftest":
		return selftest(ctx, system)
	case "version", "--version":
		fmt.Println(version)
		return nil
	case "help", "--help", "-h":
		fmt.Print(usage)
		return nil
	}
	return fault.Mark(fault.Usage, fmt.Errorf("unknown command %q\n%s", args[0], usage))
}

// serve runs even with a broken configuration: the page then says what is wrong with it.
func serve(ctx context.Context, system *agent.System) error {
	server := &agent.Server{System: system}
	var err error
	if server.Config, err = system.LoadConfig(); err != nil {
		server.Config, server.Problem = wire.Config{Name: "appliance", Listen: ":8443"}, err.Error()
	}
	return server.Serve(ctx)
}

func selftest(ctx context.Context, system *agent.System) error {
	config, err := system.LoadConfig()
	if err != nil {
		config.Name, config.SelfTest.TimeoutSeconds = "appliance", 10 // the host still hears of it, as of any other fault
	}
	reporter := &agent.Reporter{System: system}
	reporter.Progress("self-test begins")
	tester := &agent.Tester{System: system, Config: config, Problem: err, Poll: 200 * time.Millisecond}
	tester.Say = func(text string) {
		fmt.Println(text)
		reporter.Progress(text)
	}
	verdict := tester.Run(ctx)
	if ctx.Err() != nil {
		return fault.Mark(fault.Interrupted, fmt.Errorf("self-test interrupted"))
	}
	fmt.Println(agent.Line(verdict))
	if err := reporter.Verdict(context.WithoutCancel(ctx), verdict); err != nil {
		system.Warn("%v", err)
	}
	if !verdict.Pass {
		return fault.Mark(fault.CheckFailed, fmt.Errorf("self-test failed"))
	}
	return nil
}
