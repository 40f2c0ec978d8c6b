// Package namespace runs a part of the program as root of its own small world: new mount, process, network, IPC and
// host name namespaces, and a user namespace when the caller is not root. Everything mounted or started there is gone
// when the part ends, however it ends.
package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tool"
)

// Task is a part of the program that runs in namespaces. Its input is the JSON that Run was given.
type Task func(ctx context.Context, input json.RawMessage, p progress.Func) error

// The hidden arguments and the descriptors by which parent and child know each other.
const (
	marker     = "namespace-task"
	ready      = "ready"
	lifelineFD = 3 // parent → child: a start byte, the request, then nothing; its end is the parent's end
	reportFD   = 4 // child → parent: reports
)

type request struct {
	Task  string
	Input json.RawMessage
}

// report is one line from the child: an event, or the outcome as the last line.
type report struct {
	Event *progress.Event `json:",omitempty"`
	Done  bool            `json:",omitempty"`
	Error string          `json:",omitempty"`
	Kind  fault.Kind      `json:",omitempty"`
	Hint  string          `json:",omitempty"`
}

// Run runs the named task of Main as user 0 in new namespaces (namespaces(7)) and waits for it. There is no network.
// An ordinary caller becomes user 0 of a user namespace, with his subordinate ids (subuid(5)) as users 1 to 65535;
// where the host does not allow that the error has kind Missing and the remedy as hint. Events of the task go to p.
// Cancelling ctx, or the death of this process in any way, ends every process of the task and all its mounts.
func Run(ctx context.Context, task string, input any, p progress.Func) error {
	data, err := json.Marshal(input)
	if err != nil {
		return fmt.Errorf("run %s: %w", task, err)
	}
	maps, err := callerMaps()
	if err != nil {
		return err
	}
	lifelineR, lifelineW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run %s: %w", task, err)
	}
	defer lifelineW.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		lifelineR.Close()
		return fmt.Errorf("run %s: %w", task, err)
	}
	defer reportR.Close()

	child, err := start(ctx, maps, lifelineR, reportW)
	lifelineR.Close()
	reportW.Close()
	if err != nil {
		return explain(err)
	}
	if err := maps.write(ctx, child.Pid()); err != nil {
		lifelineW.Close()
		child.Wait()
		return explain(err)
	}
	if _, err := lifelineW.Write([]byte{'\n'}); err != nil {
		return errors.Join(fmt.Errorf("run %s: %w", task, err), child.Wait())
	}
	if err := json.NewEncoder(lifelineW).Encode(request{Task: task, Input: data}); err != nil {
		return errors.Join(fmt.Errorf("run %s: %w", task, err), child.Wait())
	}
	failure, done := collect(reportR, p)
	err = child.Wait()
	switch {
	case ctx.Err() != nil:
		return fault.Mark(fault.Interrupted, ctx.Err())
	case failure != nil:
		return failure
	case !done && err == nil:
		err = errors.New("ended without a word")
	}
	if err != nil {
		return explain(fmt.Errorf("run %s: %w", task, err))
	}
	return nil
}

func start(ctx context.Context, maps *idMaps, lifeline, reports *os.File) (*tool.Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET)
	if maps != nil {
		flags |= syscall.CLONE_NEWUSER
	}
	return tool.Start(ctx, tool.Cmd{
		Name: exe, Args: []string{marker}, Files: []*os.File{lifeline, reports},
		Attr: &syscall.SysProcAttr{Cloneflags: flags},
	})
}

// collect passes events on and returns the task's failure, and whether the task came to its end.
func collect(r io.Reader, p progress.Func) (failure error, done bool) {
	for d := json.NewDecoder(r); ; {
		var m report
		if d.Decode(&m) != nil {
			return nil, false
		}
		if m.Event != nil {
			p.Send(*m.Event)
		}
		if !m.Done {
			continue
		}
		if m.Error == "" {
			return nil, true
		}
		err := errors.New(m.Error)
		if m.Kind != 0 {
			err = fault.Mark(m.Kind, err)
		}
		if m.Hint != "" {
			err = fault.Hint(err, m.Hint)
		}
		return err, true
	}
}
