package namespace

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Main takes this process over when Run started it, and never returns then. It must be the first call of main, and of
// TestMain in tests that use Run.
func Main(tasks map[string]Task) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == marker:
		os.Exit(again())
	case len(os.Args) == 3 && os.Args[1] == marker && os.Args[2] == ready:
		os.Exit(childMain(tasks))
	}
}

// again waits until the id maps stand and executes this program anew. Before that it is nobody and lost its
// capabilities when it was executed; user 0 of a user namespace gets all of them (capabilities(7)).
func again() int {
	var start [1]byte
	if _, err := io.ReadFull(os.NewFile(lifelineFD, "lifeline"), start[:]); err != nil {
		return fail("this is an inner part of the program and not started by hand")
	}
	exe, err := os.Executable()
	if err == nil {
		err = syscall.Exec(exe, []string{exe, marker, ready}, os.Environ())
	}
	return fail("start again inside the namespace: " + err.Error())
}

func childMain(tasks map[string]Task) int {
	unix.CloseOnExec(lifelineFD)
	unix.CloseOnExec(reportFD)
	syscall.Umask(0o022)
	in, reports := bufio.NewReader(os.NewFile(lifelineFD, "lifeline")), os.NewFile(reportFD, "reports")
	var req request
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &req)
	}
	if err != nil {
		return fail("no request: " + err.Error())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	go func() {
		// The parent never writes again: a return means it is gone. As this is process 1 of its namespace, the kernel
		// ends every other process there with it.
		io.Copy(io.Discard, in)
		os.Exit(int(fault.Interrupted))
	}()
	out := json.NewEncoder(reports)
	last := report{Done: true}
	var mu sync.Mutex // events may come from several goroutines
	p := func(e progress.Event) {
		mu.Lock()
		defer mu.Unlock()
		out.Encode(report{Event: &e})
	}
	if err := run(ctx, tasks, req, p); err != nil {
		last.Error, last.Kind, last.Hint = err.Error(), fault.KindOf(err), fault.HintOf(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if err := out.Encode(last); err != nil || last.Error != "" {
		return int(fault.Failed)
	}
	return 0
}

func run(ctx context.Context, tasks map[string]Task, req request, p progress.Func) error {
	task := tasks[req.Task]
	switch req.Task {
	case checkTask:
		task = nothing
	case removeTask:
		task = remove
	}
	if task == nil {
		return fmt.Errorf("no task %q in this program", req.Task)
	}
	// Mounts made here must not travel back to the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fault.Hint(fault.Mark(fault.Missing, fmt.Errorf("make mounts private: %w", err)), restrictionHint())
	}
	if err := unix.Sethostname([]byte("localhost")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	// A /proc of this process namespace. Containers that mask theirs forbid it; the outer one then serves.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return task(ctx, req.Input, p)
}

func fail(text string) int {
	fmt.Fprintln(os.Stderr, text)
	return int(fault.Failed)
}
