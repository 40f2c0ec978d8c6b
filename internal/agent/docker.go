package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// dockerClient speaks to the engine's HTTP interface over its socket (Docker Engine API).
type dockerClient struct{ http http.Client }

func newDocker(socket string) *dockerClient {
	return &dockerClient{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}}
}

// container is one entry of GET /containers/json.
type container struct {
	ID     string   `json:"Id"`
	Names  []string `json:"Names"`
	Image  string   `json:"Image"`
	State  string   `json:"State"`  // created, running, restarting, exited, …
	Status string   `json:"Status"` // for a person: "Up 3 minutes"
}

func (c container) name() string {
	if len(c.Names) == 0 {
		return c.ID
	}
	return strings.TrimPrefix(c.Names[0], "/")
}

// details are what GET /containers/ID/json tells beyond the list.
type details struct {
	RestartCount int
	State        struct {
		ExitCode int
		Error    string
	}
}

// version returns what the engine's greeting says of itself. GET /version would start runc and others to ask for theirs.
func (d *dockerClient) version(ctx context.Context) (string, error) {
	res, err := d.send(ctx, "/_ping")
	if err != nil {
		return "", err
	}
	res.Body.Close()
	server, _, _ := strings.Cut(res.Header.Get("Server"), " ") // Docker/29.1.3 (linux)
	return strings.TrimPrefix(server, "Docker/"), nil
}

func (d *dockerClient) containers(ctx context.Context) ([]container, error) {
	var list []container
	err := d.get(ctx, "/containers/json?all=1", &list)
	return list, err
}

func (d *dockerClient) inspect(ctx context.Context, id string) (details, error) {
	var x details
	err := d.get(ctx, "/containers/"+id+"/json", &x)
	return x, err
}

func (d *dockerClient) get(ctx context.Context, path string, into any) error {
	res, err := d.send(ctx, path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, 8<<20)).Decode(into); err != nil {
		return fmt.Errorf("docker: %s: %w", path, err)
	}
	return nil
}

func (d *dockerClient) send(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := d.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("docker: %s: %s", path, res.Status)
	}
	return res, nil
}
