package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

// lastVerdict is where the status page finds the verdict of this boot.
const lastVerdict = "/run/agibake/selftest.json"

// Reporter tells the host how the self-test goes, by every way that this machine has. Nobody need listen.
type Reporter struct {
	*System
	mu   sync.Mutex
	deaf bool // nobody takes what the port is given: progress is not worth waiting for
}

// Progress sends a progress message to the host.
func (r *Reporter) Progress(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.deaf {
		r.send(wire.Message{Type: "progress", Text: text})
	}
}

// Verdict writes the verdict to the log of the state, the consoles, the host's port and the hypervisor's own channel.
func (r *Reporter) Verdict(ctx context.Context, v wire.Verdict) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	faults := []error{r.remember(data)}
	r.consoles(Line(v))
	r.send(wire.Message{Type: "verdict", Verdict: &v})
	return errors.Join(append(faults, r.hypervisor(ctx, v, data))...)
}

// remember keeps the verdict for the status page, and in the log if the state is there.
func (r *Reporter) remember(data []byte) error {
	faults := []error{os.MkdirAll(r.path("/run/agibake"), 0o755), atomicfile.WriteFile(r.path(lastVerdict), data, 0o644)}
	if _, err := os.Stat(r.state("logs")); err != nil {
		return errors.Join(append(faults, fmt.Errorf("log of the self-test: %w", err))...)
	}
	return errors.Join(append(faults, appendLine(r.state("logs/selftest.jsonl"), data))...)
}

// appendLine adds one whole line; the remains of a broken-off one are closed first.
func appendLine(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var line []byte
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			line = append(line, '\n')
		}
	}
	line = append(append(line, data...), '\n')
	if _, err := f.Write(line); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.Sync()
}

// consoles writes a line to every console of the kernel: the screen and, where there is one, the serial port.
func (r *Reporter) consoles(line string) {
	for _, name := range strings.Fields(r.word("/sys/class/tty/console/active")) {
		if err := writeDevice(r.path("/dev/"+name), []byte("\n"+line+"\n")); err != nil {
			r.Warn("console %s: %v", name, err)
		}
	}
}

// send writes one message to the virtio-serial port. A machine without it is no fault.
func (r *Reporter) send(m wire.Message) {
	data, err := json.Marshal(m)
	if err == nil {
		err = writeDevice(r.path("/dev/virtio-ports/"+wire.PortName), append(data, '\n'))
	}
	r.deaf = err != nil && !errors.Is(err, os.ErrNotExist)
	if r.deaf {
		r.Warn("port %s: %v", wire.PortName, err)
	}
}

// writeDevice writes to a device, and waits at most two seconds for somebody at its other end.
func writeDevice(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		f.SetWriteDeadline(time.Now().Add(2 * time.Second)) // where the device can be polled
		_, err := f.Write(data)
		done <- errors.Join(err, f.Close())
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(3 * time.Second):
		return os.ErrDeadlineExceeded
	}
}

// hypervisor tells VMware or VirtualBox, where their tools are installed.
func (r *Reporter) hypervisor(ctx context.Context, v wire.Verdict, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	maker := r.word("/sys/class/dmi/id/sys_vendor") + " " + r.word("/sys/class/dmi/id/product_name")
	var c tool.Cmd
	switch {
	case strings.Contains(maker, "VMware"):
		c = tool.Cmd{Name: "vmtoolsd", Args: []string{"--cmd", "info-set guestinfo.agibake.selftest " + string(data)}}
	case strings.Contains(maker, "VirtualBox"):
		// A guest property holds little: the line, not the document.
		line := Line(v)
		c = tool.Cmd{Name: "VBoxControl", Args: []string{"guestproperty", "set", "/agibake/selftest", line[:min(len(line), 120)]}}
	default:
		return nil
	}
	if err := r.Run(ctx, c); err != nil {
		r.Warn("tell the hypervisor: %v", err)
	}
	return nil
}
