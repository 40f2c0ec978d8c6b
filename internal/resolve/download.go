package resolve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
)

// ErrGone says that a server no longer offers what a lock names. The lock no longer answers and needs resolving again.
var ErrGone = errors.New("no longer offered")

const (
	maxTries   = 5               // in a row without a byte gained
	maxUnknown = 1 << 40         // bytes of a download whose size nobody declared
	stall      = 1 * time.Minute // without a byte, a connection counts as lost
)

// download is one thing to fetch over HTTP.
type download struct {
	url    string
	sha256 string // "" = not known yet
	size   int64  // below zero = not known
	client *http.Client
	pause  time.Duration // before the first retry; it doubles
}

// newClient returns the client of all downloads. A digest vouches for what comes, or TLS does: a redirect from
// https to http is refused.
func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("too many redirects")
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return fmt.Errorf("redirected from https to %s", r.URL.Redacted())
		}
		return nil
	}}
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = parallel
	t.ResponseHeaderTimeout = stall
	return t
}

// into brings the download into the store, going on where an earlier one stopped, and returns its digest and size.
func (d download) into(ctx context.Context, s *cas.Store, report func(int64)) (string, int64, error) {
	name := d.sha256
	if name == "" {
		sum := sha256.Sum256([]byte(d.url))
		name = hex.EncodeToString(sum[:])
	}
	limit := d.size
	if limit < 0 {
		limit = maxUnknown
	}
	p, err := s.Partial(ctx, name, limit)
	if err != nil {
		return "", 0, err
	}
	defer p.Close()
	if d.sha256 != "" && s.Has(d.sha256, d.size) { // another process was faster
		p.Discard()
		size, err := s.Size(d.sha256)
		return d.sha256, size, err
	}
	old := p.Size() > 0
	for {
		if err := d.retry(ctx, p, report); err != nil {
			return "", 0, fmt.Errorf("download %s: %w", d.url, err)
		}
		got, err := p.Commit(d.sha256)
		if wrong := (*cas.DigestError)(nil); errors.As(err, &wrong) && old {
			old = false // the fault may lie in what an earlier run left
			if p, err = d.again(ctx, s, p, name, limit); err == nil {
				defer p.Close()
				continue
			}
		}
		if err != nil {
			return "", 0, fmt.Errorf("download %s: %w", d.url, err)
		}
		return got, p.Size(), nil
	}
}

func (d download) again(ctx context.Context, s *cas.Store, p *cas.Partial, name string, limit int64) (*cas.Partial, error) {
	if err := p.Close(); err != nil {
		return nil, err
	}
	return s.Partial(ctx, name, limit)
}

// retry tries until p is complete, or the fault is one that time does not mend, or nothing was gained for long.
func (d download) retry(ctx context.Context, p *cas.Partial, report func(int64)) error {
	pause, tries := d.pause, 0
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	for {
		before := p.Size()
		err := d.try(ctx, p, report)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.Size() > before {
			tries = 0
		}
		if tries++; lasting(err) || tries >= maxTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause << min(tries-1, 4)):
		}
	}
}

// lasting tells whether trying again is in vain.
func lasting(err error) bool {
	status := (*statusError)(nil)
	if errors.As(err, &status) {
		return status.code != http.StatusTooManyRequests && status.code != http.StatusRequestTimeout && status.code < 500
	}
	return fault.KindOf(err) == fault.Untrusted || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// statusError is an answer other than the wanted one.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", e.code, http.StatusText(e.code))
}

func (e *statusError) Is(target error) bool {
	return target == ErrGone && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

// try makes one request for what is missing of p (RFC 9110, section 14).
func (d download) try(ctx context.Context, p *cas.Partial, report func(int64)) error {
	if d.size >= 0 && p.Size() == d.size {
		return nil
	}
	if p.Size() > 0 && d.sha256 == "" && p.Validator() == "" {
		if err := p.Reset(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	r.Header.Set("User-Agent", "agibake")
	r.Header.Set("Accept-Encoding", "identity")
	if p.Size() > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.Size()))
		if v := p.Validator(); v != "" {
			r.Header.Set("If-Range", v)
		}
	}
	resp, err := d.client.Do(r)
	if within := (*url.Error)(nil); errors.As(err, &within) {
		return within.Err // the address is told already
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := d.accept(p, resp); err != nil {
		return err
	}
	watch := time.AfterFunc(stall, func() { cancel(errors.New("the connection stalled")) })
	defer watch.Stop()
	_, err = io.Copy(p, &watched{resp.Body, watch, p.Size(), report})
	if err == nil && d.size >= 0 && p.Size() < d.size {
		err = io.ErrUnexpectedEOF
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return err
}

// accept decides whether the body goes after what p holds, and says what is wrong with the answer otherwise.
func (d download) accept(p *cas.Partial, resp *http.Response) error {
	total := resp.ContentLength
	switch resp.StatusCode {
	case http.StatusOK:
		if err := p.Reset(); err != nil {
			return err
		}
		if err := p.SetValidator(validator(resp.Header)); err != nil {
			return err
		}
	case http.StatusPartialContent:
		from, whole, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || from != p.Size() {
			return errors.Join(errors.New("the server sent another range than the one asked for"), p.Reset())
		}
		total = whole
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(errors.New("the server has not the range that is missing"), p.Reset())
	default:
		return &statusError{resp.StatusCode}
	}
	if d.size >= 0 && total >= 0 && total != d.size {
		return fault.Mark(fault.Untrusted, fmt.Errorf("the server has %d bytes instead of %d", total, d.size))
	}
	return nil
}

// validator is the strong mark of a version that If-Range accepts (RFC 9110, section 13.1.5).
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes FROM-TO/TOTAL"; TOTAL is -1 when the server does not know it.
func contentRange(s string) (from, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, whole, ok2 := strings.Cut(rest, "/")
	first, _, ok3 := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	total = -1
	if whole != "*" {
		var err2 error
		total, err2 = strconv.ParseInt(whole, 10, 64)
		err = errors.Join(err, err2)
	}
	return from, total, ok && ok2 && ok3 && err == nil
}

// watched keeps the watch from ending the request while bytes come.
type watched struct {
	r      io.Reader
	watch  *time.Timer
	n      int64
	report func(int64)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.watch.Reset(stall)
	w.n += int64(n)
	if w.report != nil {
		w.report(w.n)
	}
	return n, err
}
