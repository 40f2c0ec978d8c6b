package live

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/tool"
)

//go:embed guardian.sh
var script string

// guardian is a small process in a session of its own that outlives this one, if need be, to resume what it was told of.
type guardian struct {
	pid   int
	input *os.File
	ended chan struct{} // closed when the guardian is no more
}

// startGuardian returns when the guardian watches. It holds lock open for as long as it lives.
func startGuardian(ctx context.Context, docker string, deadline time.Duration, lock *os.File) (*guardian, error) {
	in, input, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	defer in.Close()
	output, out, err := os.Pipe()
	if err != nil {
		input.Close()
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	defer output.Close()
	seconds := strconv.Itoa(int(math.Ceil(deadline.Seconds())))
	p, err := tool.Start(context.WithoutCancel(ctx), tool.Cmd{ // a cancelled context must not kill it
		Name: "sh", Args: []string{"-c", script, "agibake-guardian", docker, seconds}, Dir: "/", Stdin: in, Stdout: out,
		Files: []*os.File{lock}, Attr: &syscall.SysProcAttr{Setsid: true},
	})
	out.Close()
	if err != nil {
		input.Close()
		return nil, err
	}
	g := &guardian{pid: p.Pid(), input: input, ended: make(chan struct{})}
	go func() { p.Wait(); close(g.ended) }()
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "ready\n" {
		input.Close()
		return nil, fmt.Errorf("start the guardian: it said %q: %w", line, err)
	}
	return g, nil
}

// tell writes a line to the guardian; once it is in the pipe, it is read even if this process dies. The error of a
// guardian that is no more is ErrResumed.
func (g *guardian) tell(line string) error {
	if _, err := g.input.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("tell the guardian %q: %w: %w", line, ErrResumed, err)
	}
	return nil
}

// watching tells whether the guardian is there.
func (g *guardian) watching() bool {
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

// release ends the guardian. Unless all is well it resumes everything first. It waits for its end, some seconds at most.
func (g *guardian) release(well bool) {
	if well {
		g.tell("q")
	}
	g.input.Close()
	select {
	case <-g.ended:
	case <-time.After(5 * time.Second):
	}
}
