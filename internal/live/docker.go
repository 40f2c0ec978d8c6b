package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/tool"
)

// engine is a docker engine on this machine.
type engine struct{ program string }

// box is a running container.
type box struct {
	ID    string
	Name  string
	State struct{ Running, Paused bool }

	Mounts []struct {
		Source string
		RW     bool
	}
}

const dockerPatience = 20 * time.Second

// findEngine returns nil where there is none, or one on another machine, unless o names a program.
func findEngine(ctx context.Context, o Options) (*engine, error) {
	name := o.Docker
	if name == none {
		return nil, nil
	}
	if name == "" {
		name = "docker"
	}
	path, err := tool.Look(name)
	if err != nil {
		if o.Docker == "" {
			return nil, nil
		}
		return nil, err
	}
	e := &engine{program: path}
	host, err := e.run(ctx, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
	if env := os.Getenv("DOCKER_HOST"); err != nil && env != "" {
		host, err = []byte(env), nil // before docker 19.03 there were no contexts
	}
	if err == nil && !strings.HasPrefix(string(host), "unix://") {
		err = fmt.Errorf("the docker engine at %s is not on this machine", strings.TrimSpace(string(host)))
	}
	if err == nil {
		_, err = e.run(ctx, "version", "--format", "{{.Server.Version}}")
	}
	if err != nil && o.Docker == "" {
		return nil, ctx.Err()
	}
	return e, err
}

func (e *engine) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dockerPatience)
	defer cancel()
	return tool.Output(ctx, e.program, args...)
}

// boxes lists the running containers that can write in dir: a writable mount of theirs lies in it, or it in the mount.
// The container of this process is not among them.
func (e *engine) boxes(ctx context.Context, dir string) ([]box, error) {
	ids, err := e.run(ctx, "ps", "--quiet", "--no-trunc")
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	list, err := e.inspect(ctx, strings.Fields(string(ids)))
	if err != nil {
		return nil, err
	}
	own := ownContainer()
	var found []box
	for _, b := range list {
		if !b.State.Running || strings.Contains(own, b.ID) {
			continue
		}
		for _, m := range b.Mounts {
			source, err := filepath.EvalSymlinks(m.Source)
			if err == nil && m.RW && (below(source, dir) || below(dir, source)) {
				found = append(found, b)
				break
			}
		}
	}
	return found, nil
}

// ownContainer returns text that holds the id of the container in which this process runs, if it does: its control group,
// and where the engine keeps its host name.
func ownContainer() string {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	own := string(groups)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/etc/hostname" { // proc_pid_mountinfo(5)
			own += f[3]
		}
	}
	return own
}

// inspect describes containers. Those that are gone by now are left out.
func (e *engine) inspect(ctx context.Context, ids []string) ([]box, error) {
	out, err := e.run(ctx, append([]string{"container", "inspect"}, ids...)...)
	var list []box
	if jsonErr := json.Unmarshal(out, &list); jsonErr != nil {
		return nil, fmt.Errorf("inspect containers: %w", errors.Join(err, jsonErr))
	}
	for i := range list {
		list[i].Name = strings.TrimPrefix(list[i].Name, "/")
	}
	return list, nil
}

// pause pauses containers; one that ended meanwhile is no fault.
func (e *engine) pause(ctx context.Context, ids []string) error {
	_, err := e.run(ctx, append([]string{"pause"}, ids...)...)
	return e.settled(ctx, ids, true, err)
}

// unpause resumes containers; one that was killed meanwhile, or resumed by someone else, is no fault.
func (e *engine) unpause(ctx context.Context, ids []string) error {
	_, err := e.run(ctx, append([]string{"unpause"}, ids...)...)
	return e.settled(ctx, ids, false, err)
}

// settled forgives err when all containers that still run are paused, or not, as wanted.
func (e *engine) settled(ctx context.Context, ids []string, paused bool, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	list, inspectErr := e.inspect(ctx, ids)
	if inspectErr != nil {
		return err
	}
	for _, b := range list {
		if b.State.Running && b.State.Paused != paused {
			return err
		}
	}
	return nil
}
