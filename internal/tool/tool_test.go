package tool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

func TestFailureCarriesLastLines(t *testing.T) {
	err := Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", "echo it broke >&2; exit 7"}})
	if ExitCode(err) != 7 || !strings.Contains(err.Error(), "it broke") {
		t.Errorf("error is %v, exit code %d", err, ExitCode(err))
	}
}

func TestMissingProgramNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Look("qemu-img-not-there")
	if fault.KindOf(err) != fault.Missing {
		t.Errorf("kind of %v is %d", err, fault.KindOf(err))
	}
}

func TestCancelEndsTheProgram(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := Run(ctx, Cmd{Name: "sleep", Args: []string{"60"}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// TestProgramsEndWithUs kills a process that runs a program: the program must not live on and write.
func TestProgramsEndWithUs(t *testing.T) {
	if dir := os.Getenv("TOOL_TEST_PARENT"); dir != "" { // the process that is killed below
		Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", "echo $$ > " + dir + "/pid.new; mv " + dir + "/pid.new " + dir + "/pid; exec sleep 60"}})
		return
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run=^TestProgramsEndWithUs$")
	parent.Env = append(os.Environ(), "TOOL_TEST_PARENT="+dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for deadline := time.Now().Add(10 * time.Second); pid == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	parent.Process.Kill()
	parent.Wait()
	if pid == 0 {
		t.Fatal("the program did not start")
	}
	for range 500 {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") { // gone, or waiting for init to notice
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Error("the program lived on")
}
