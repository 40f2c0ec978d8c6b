package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/progress"
)

func newFidelity(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "fidelity",
		Short: "Prove that a mind that moved is the same mind",
		Long: `Examine a running model server (llama.cpp) with the state beside it on five levels: the bytes of the model, the start
of its server, the greeting, the style at every step, and the memory. What is recorded where the mind is at home is compared
with what is found where it arrived.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newFidelityRecord(a), newFidelityCheck(a), newFidelityReplay(a))
	return c
}

// mindFlags say which mind is examined, and how patiently.
type mindFlags struct {
	server, chroma, root, hardware string
	wait                           time.Duration
}

// serverFlags are those of a server alone.
func (f *mindFlags) serverFlags(c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", "", "`URL` of llama.cpp's server: http://127.0.0.1:8081")
	c.Flags().DurationVar(&f.wait, "wait", time.Minute, "`TIME` that the server has to load its model")
}

func (f *mindFlags) flags(c *cobra.Command) {
	f.serverFlags(c)
	c.Flags().StringVar(&f.chroma, "chroma", "", "`URL` of the Chroma server with its memory")
	c.Flags().StringVar(&f.root, "root", "", "`FOLDER` of its state, such as /var/lib/agi-core")
	c.Flags().StringVar(&f.hardware, "hardware", "", "`TEXT` that describes what the server computes on; this machine for one on a loopback address")
}

// target is the mind that the flags name.
func (f *mindFlags) target(c *cobra.Command) (fidelity.Target, error) {
	t := fidelity.Target{Server: f.server, Chroma: f.chroma, Root: f.root, Hardware: f.hardware}
	if f.server == "" && f.chroma == "" && f.root == "" {
		return t, usage(c, errors.New("nothing says whom to ask: --server http://HOST:PORT"))
	}
	for _, flag := range []struct{ name, address string }{{"server", f.server}, {"chroma", f.chroma}} {
		if flag.address == "" {
			continue
		}
		u, err := url.Parse(flag.address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return t, usage(c, fmt.Errorf("--%s %q: not an address such as http://127.0.0.1:8081", flag.name, flag.address))
		}
		if flag.name == "server" && !c.Flags().Changed("hardware") && isLoopback(u.Hostname()) {
			t.Hardware = fidelity.LocalHardware()
		}
	}
	if f.root != "" {
		if info, err := os.Stat(f.root); err != nil || !info.IsDir() {
			if err == nil {
				err = fmt.Errorf("%s is no folder", f.root)
			}
			return t, fault.Hint(fault.Mark(fault.Input, err), "name the state root, such as /var/lib/agi-core")
		}
	}
	return t, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// unreachable adds advice where err means that nobody answered.
func unreachable(err error) error {
	var failed *url.Error
	if !errors.As(err, &failed) || fault.HintOf(err) != "" {
		return err
	}
	u, bad := url.Parse(failed.URL)
	if bad != nil {
		return err
	}
	return fault.Hint(err, u.Scheme+"://"+u.Host+" does not answer: start the server there, or name the right address; --wait gives it longer")
}

// fidelitySteps are what the levels do, for a person.
var fidelitySteps = map[string]string{
	"bytes":    "the model's files",
	"start":    "how its server starts",
	"greeting": "the greeting and other answers",
	"style":    "the likeliest words at many places",
	"memory":   "documents and vectors",
}

// byLevel makes a stage of each level, so that a log has a line for each.
func byLevel(show progress.Func) progress.Func {
	var mu sync.Mutex
	level := "fidelity"
	return func(e progress.Event) {
		mu.Lock()
		if text, ok := fidelitySteps[e.Item]; ok && e.Total == 0 {
			level, e.Item = e.Item, text
		}
		e.Stage = level
		mu.Unlock()
		show.Send(e)
	}
}
