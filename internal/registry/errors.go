package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// errStalled says that a connection brought nothing for too long.
var errStalled = errors.New("the connection stalled")

// statusError is an answer other than the wanted one.
type statusError struct {
	code  int
	text  string        // the registry's words, made harmless
	after time.Duration // how long it asks to be left alone
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the registry answers %d %s", e.code, http.StatusText(e.code))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

func (e *statusError) Is(target error) bool {
	return target == artifact.ErrNotFound && e.code == http.StatusNotFound
}

// newStatusError reads the little of an answer that is worth telling (distribution-spec, "Error Codes").
func newStatusError(a *http.Response) *statusError {
	e := &statusError{code: a.StatusCode, after: retryAfter(a.Header.Get("Retry-After"), time.Now())}
	data, _ := io.ReadAll(io.LimitReader(a.Body, 4<<10))
	var said struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(data, &said) == nil && len(said.Errors) > 0 {
		e.text = tameText(said.Errors[0].Code+": "+said.Errors[0].Message, 200)
	}
	return e
}

// retryAfter reads the header of that name (RFC 9110, section 10.2.3). Nobody makes us wait for more than a minute.
func retryAfter(s string, now time.Time) time.Duration {
	d := time.Duration(0)
	if n, err := time.ParseDuration(s + "s"); err == nil && !strings.ContainsAny(s, "hmsµun") {
		d = n
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Minute)
}

// tamed is an error whose text may come from a server: short, one line, nothing that a terminal would obey.
type tamed struct{ err error }

func (t tamed) Error() string { return tameText(t.err.Error(), 400) }
func (t tamed) Unwrap() error { return t.err }

func tame(err error) error {
	if err == nil {
		return nil
	}
	return tamed{err}
}

// tameText makes one printable line of at most limit bytes, and the dots that say that more followed.
func tameText(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// bare takes an address off an error, since addresses of uploads and redirects carry secrets.
func bare(err error) error {
	if within, ok := err.(*url.Error); ok {
		err = within.Err
	}
	return tame(err)
}

// lasting tells whether trying again is in vain.
func lasting(err error) bool {
	var status *statusError
	var answer *transport.Error
	var unknown *net.DNSError
	code := 0
	switch {
	case errors.As(err, &status):
		code = status.code
	case errors.As(err, &answer):
		code = answer.StatusCode
	case errors.As(err, &unknown):
		return unknown.IsNotFound
	}
	if code != 0 {
		return code != http.StatusTooManyRequests && code != http.StatusRequestTimeout && code != http.StatusTooEarly && code < 500
	}
	kind := fault.KindOf(err)
	return kind == fault.Untrusted || kind == fault.Input || errors.Is(err, context.Canceled) || badTLS(err) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func badTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &verify) || errors.As(err, &authority)
}

// explain adds kind and hint to what went wrong.
func (r *Repository) explain(err error) error {
	if err == nil {
		return nil
	}
	code := 0
	if status := (*statusError)(nil); errors.As(err, &status) {
		code = status.code
	} else if answer := (*transport.Error)(nil); errors.As(err, &answer) {
		code, err = answer.StatusCode, tame(err)
	}
	var record tls.RecordHeaderError
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fault.Hint(fault.Mark(fault.Input, err), "docker login "+r.name.RegistryStr())
	case code == http.StatusNotFound:
		return fault.Hint(fault.Mark(fault.Input, err), "check the name and tag")
	case fault.KindOf(err) == fault.Untrusted:
		return err
	case badTLS(err):
		return fault.Hint(fault.Mark(fault.Untrusted, tame(err)), "name the registry's authority with --ca FILE")
	case errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record):
		return fault.Hint(tame(err), "a registry that speaks http only is used with --plain-http")
	case code == 0 && fault.HintOf(err) == "" && (errors.As(err, new(*net.OpError)) || errors.As(err, new(*net.DNSError))):
		return fault.Hint(tame(err), "check the name and the network")
	}
	return err
}
