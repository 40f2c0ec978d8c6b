package agent

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/agibake/agibake/internal/wire"
)

// Health is the document of GET /healthz. The answer's status is 200 whenever the agent lives; Status says how the
// appliance is.
type Health struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Status  string    `json:"status"` // testing, pass, fail
	Uptime  float64   `json:"uptimeSeconds"`
	Tested  time.Time `json:"tested,omitzero"` // when the last verdict of this boot was given
	Failed  []string  `json:"failed,omitempty"`
}

//go:embed status.html
var statusPage string

// Server is the agent's web side.
type Server struct {
	*System
	Config  wire.Config
	Problem string // why the configuration could not be read, "" if it could
}

// Handler returns the routes. They only read.
func (s *Server) Handler() (http.Handler, error) {
	page, err := template.New("status").Parse(statusPage)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.health(s.verdict()))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		v := s.verdict()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		page.Execute(w, map[string]any{
			"Health": s.health(v), "Verdict": v, "Config": s.Config, "Problem": s.Problem, "Containers": s.containers(r.Context()),
		})
	})
	return mux, nil
}

// Serve answers until ctx ends, then lets running requests finish. Systemd hears when it is ready.
func (s *Server) Serve(ctx context.Context) error {
	handler, err := s.Handler()
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Config.Listen)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		notify("STOPPING=1")
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	notify("READY=1")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// verdict returns the verdict of this boot, or nil.
func (s *Server) verdict() *wire.Verdict {
	data, err := os.ReadFile(s.path(lastVerdict))
	if err != nil {
		return nil
	}
	var v wire.Verdict
	if json.Unmarshal(data, &v) != nil {
		return nil
	}
	return &v
}

func (s *Server) health(v *wire.Verdict) Health {
	h := Health{Name: s.Config.Name, Version: s.Config.Version, Status: "testing", Uptime: s.uptime()}
	if v == nil {
		return h
	}
	h.Tested, h.Status = v.Time, "pass"
	for _, c := range v.Checks {
		if c.Status == wire.Fail {
			h.Failed = append(h.Failed, c.Name)
		}
	}
	if !v.Pass {
		h.Status = "fail"
	}
	return h
}

// row is one container on the status page.
type row struct{ Name, Image, State string }

func (s *Server) containers(ctx context.Context) []row {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	list, err := newDocker(s.path("/run/docker.sock")).containers(ctx)
	if err != nil {
		return []row{{"docker", "", err.Error()}}
	}
	var rows []row
	for _, c := range list {
		rows = append(rows, row{c.name(), c.Image, c.Status})
	}
	return rows
}

// notify tells systemd of the service's state (sd_notify(3)); without systemd it does nothing.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if conn, err := net.Dial("unixgram", name); err == nil {
		conn.Write([]byte(state))
		conn.Close()
	}
}
