package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/gpu"
)

// checkDocker: the engine answers.
func (t *Tester) checkDocker(ctx context.Context) (string, error) {
	if len(t.Config.Containers) == 0 && !slices.Contains(t.Config.SelfTest.Require, "docker") {
		return "", skipped("no containers")
	}
	defer close(t.dockerUp)
	var asked time.Time
	detail, err := t.until(ctx, t.Poll, func(ctx context.Context) (string, error) {
		// Systemd holds the socket before the engine listens: one request waits there, and is not asked again and again.
		ctx, cancel := context.WithTimeout(ctx, dockerPatience)
		defer cancel()
		version, err := t.docker.version(ctx)
		if err != nil && time.Since(asked) > 3*time.Second {
			asked = time.Now()
			if t.run(ctx, "systemctl", "is-failed", "--quiet", "docker.service") == nil {
				return "", final{fmt.Errorf("docker.service has failed: %w", err)}
			}
		}
		return version, err
	})
	if err != nil {
		t.abandon(errors.New("docker does not answer"))
		return "", err
	}
	t.say("docker %s answers", detail)
	return detail, nil
}

// dockerPatience is how long one request may wait for the engine to start.
const dockerPatience = 20 * time.Second

// awaitDocker keeps what needs containers from asking for them in vain.
func (t *Tester) awaitDocker() {
	select {
	case <-t.dockerUp:
	case <-t.waiting.Done():
	}
}

// maxRestarts is how often a container may fall over before nobody waits for it any more.
const maxRestarts = 5

// checkContainers: every container of the recipe runs.
func (t *Tester) checkContainers(context.Context) (string, error) {
	if len(t.Config.Containers) == 0 {
		return "", skipped("no containers")
	}
	t.awaitDocker()
	detail, err := t.until(t.waiting, 2*t.Poll, func(ctx context.Context) (string, error) {
		list, err := t.docker.containers(ctx)
		if err != nil {
			return "", err
		}
		for _, name := range t.Config.Containers {
			if err := t.container(ctx, list, name); err != nil {
				return "", err
			}
		}
		return strings.Join(t.Config.Containers, " ") + " running", nil
	})
	if errors.As(err, new(final)) {
		t.abandon(err)
	}
	if err == nil {
		t.say("%s", detail)
	}
	return detail, err
}

func (t *Tester) container(ctx context.Context, list []container, name string) error {
	i := slices.IndexFunc(list, func(c container) bool { return c.name() == name })
	if i < 0 {
		return fmt.Errorf("container %s is not there", name)
	}
	if list[i].State == "running" {
		return nil
	}
	x, err := t.docker.inspect(ctx, list[i].ID)
	if err != nil {
		return err
	}
	if x.RestartCount >= maxRestarts {
		return final{fmt.Errorf("container %s ended with code %d and was restarted %d times", name, x.State.ExitCode, x.RestartCount)}
	}
	return fmt.Errorf("container %s is %s (%s) %s", name, list[i].State, list[i].Status, x.State.Error)
}

func (t *Tester) question() string {
	if t.Config.Greeting != "" {
		return t.Config.Greeting
	}
	return defaultGreeting
}

// checkModel: the model answers the greeting.
func (t *Tester) checkModel(context.Context) (string, error) {
	if t.Config.ModelURL == "" {
		return "", skipped("no model container")
	}
	for _, m := range t.Config.Models {
		if info, err := os.Stat(t.state("models/" + m)); err != nil || info.Size() == 0 {
			return "", fmt.Errorf("models/%s is missing or empty", m)
		}
	}
	t.awaitDocker()
	told := false
	return t.until(t.waiting, t.Poll, func(ctx context.Context) (string, error) {
		a, err := t.model.ask(ctx, t.question())
		if errors.As(err, new(loading)) && !told {
			told = true
			t.say("model is loading")
		}
		if err != nil {
			return "", err
		}
		t.mu.Lock()
		t.answer = a
		t.mu.Unlock()
		t.say("model answers: %s", oneLine(a.text))
		return fmt.Sprintf("%d tokens", a.tokens), nil
	})
}

// checkSpeed: the answer came fast enough.
func (t *Tester) checkSpeed(context.Context) (string, error) {
	a, want := t.answer, t.Config.SelfTest.MinTokensPerSecond
	switch {
	case t.Config.ModelURL == "":
		return "", skipped("no model container")
	case a.text == "":
		return "", errors.New("the model did not answer")
	case a.rate < want:
		return "", fmt.Errorf("%.2f tokens/s, the recipe wants %.2f", a.rate, want)
	}
	return fmt.Sprintf("%.2f tokens/s", a.rate), nil
}

// checkGPU: a GPU is visible, and its driver supports the CUDA that the containers need.
func (t *Tester) checkGPU(ctx context.Context) (string, error) {
	if !t.Config.GPU {
		return "", skipped("no GPU wanted")
	}
	list, err := gpu.Check(ctx, t.output, t.Config.CUDA)
	if err != nil {
		return "", err
	}
	return oneLine(strings.ReplaceAll(list, "\n", "; ")), nil
}
