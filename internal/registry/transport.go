package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

const (
	buffer     = 256 << 10 // of a connection, each way
	maxHeaders = 256 << 10
	maxCA      = 16 << 20
)

// newTransport returns a transport that unpacks nothing on its own and gives each transfer a connection to itself:
// HTTP/1.1, where one slow stream cannot hold up another.
func newTransport(o Options) (*http.Transport, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		pool, err := authorities(o.CA)
		if err != nil {
			return nil, fault.Mark(fault.Input, fmt.Errorf("read authorities: %w", err))
		}
		trust.RootCAs = pool
	}
	one := new(http.Protocols)
	one.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, Protocols: one, DisableCompression: true,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: 60 * time.Second,
		MaxIdleConnsPerHost: o.Concurrency, MaxResponseHeaderBytes: maxHeaders,
		ReadBufferSize: buffer, WriteBufferSize: buffer,
	}, nil
}

func authorities(path string) (*x509.CertPool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCA))
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// errPlain says that a server wanted what must be encrypted to go unencrypted.
var errPlain = fault.Mark(fault.Untrusted, errors.New("http is refused where https is wanted"))

// guard stands before everything that leaves, credentials and redirects included.
type guard struct {
	next    http.RoundTripper
	agent   string
	plain   atomic.Bool // http may be spoken
	opening atomic.Bool // no large answer is due yet
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.URL.Scheme != "https" && !(q.URL.Scheme == "http" && g.plain.Load()) {
		if q.Body != nil {
			q.Body.Close()
		}
		return nil, fmt.Errorf("%s: %w", tameText(q.URL.Host, 200), errPlain)
	}
	q.Header.Set("User-Agent", g.agent)
	a, err := g.next.RoundTrip(q)
	if err == nil && g.opening.Load() {
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(a.Body, 1<<20), a.Body}
	}
	return a, err
}

func checkRedirect(q *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && q.URL.Scheme != "https" {
		return fmt.Errorf("redirected: %w", errPlain)
	}
	return nil
}
