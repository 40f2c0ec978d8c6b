// Package registry keeps OCI artifacts in a registry (OCI distribution-spec v1.1.1): a repository as an
// artifact.Store, Push and Pull, both of which go on where an earlier run stopped. A registry is hostile until
// digests say otherwise.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
)

// Options are how a registry is spoken to. The zero value is good for most.
type Options struct {
	CA          string            // PEM file of authorities that are trusted beside the system's
	PlainHTTP   bool              // http where https is not spoken; loopback addresses may do so unasked
	Concurrency int               // transfers at a time; 0 means 4
	UserAgent   string            // "" means agibake
	Keychain    authn.Keychain    // nil means docker's configuration and credential helpers
	Transport   http.RoundTripper // nil means a transport of our own
	State       string            // folder for upload sessions; "" means uploads in the user's cache folder
	Chunk       int64             // bytes sent in one request; 0 means 32 MiB
	Pause       time.Duration     // before the first retry, it doubles; 0 means half a second
	Stall       time.Duration     // without progress, a connection counts as lost; 0 means 30 seconds
}

func (o Options) complete() (Options, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	if o.UserAgent == "" {
		o.UserAgent = "agibake"
	}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Chunk <= 0 {
		o.Chunk = 32 << 20
	}
	if o.Pause <= 0 {
		o.Pause = 500 * time.Millisecond
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.State == "" {
		dir, err := cas.Default()
		if err != nil {
			return o, err
		}
		o.State = filepath.Join(dir, "uploads")
	}
	var err error
	if o.Transport == nil {
		o.Transport, err = newTransport(o)
	}
	return o, err
}

// Repository is one repository of a registry, an artifact.Store. It is safe for several goroutines.
type Repository struct {
	o      Options
	name   name.Repository
	ref    string // tag or digest
	base   url.URL
	client *http.Client

	noReferrers atomic.Bool // the registry has no referrers API
	noChunks    atomic.Bool // it takes uploads whole only
	tagging     sync.Mutex  // of the fallback tags of this process
	cache       manifests
}

// plainName is what a repository may be called (distribution-spec, "Pulling manifests").
var plainName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// Open logs in to the repository that a reference names: host/repository, with :tag or @sha256:… behind it.
func Open(ctx context.Context, reference string, o Options) (*Repository, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	var how []name.Option
	if o.PlainHTTP {
		how = append(how, name.Insecure)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(reference, "registry:"), how...)
	if err == nil && !plainName.MatchString(ref.Context().RepositoryStr()) {
		err = errors.New("no repository can have this name")
	}
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("reference %.200q: %w", reference, tame(err)))
	}
	r := &Repository{o: o, name: ref.Context(), ref: ref.Identifier()}
	for t := r.tries(); ; {
		err := r.login(ctx)
		if err == nil {
			return r, nil
		}
		if answer := (*transport.Error)(nil); errors.As(err, &answer) { // who answers at all may do better the next time
			err = t.again(ctx, err)
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", r.name, r.explain(err))
		}
	}
}

// login finds out how the registry is spoken to and which credentials it wants (distribution-spec, "Determining
// Support"; the token handshake is that of docker).
func (r *Repository) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*r.o.Stall, errStalled)
	defer cancel()
	host := r.name.RegistryStr()
	g := &guard{next: r.o.Transport, agent: r.o.UserAgent}
	g.plain.Store(r.o.PlainHTTP || loopback(host))
	g.opening.Store(true)
	defer g.opening.Store(false)
	auth, err := authn.Resolve(ctx, r.o.Keychain, r.name)
	if err != nil {
		return err
	}
	challenge, err := transport.Ping(ctx, r.name.Registry, g)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	g.plain.Store(challenge.Insecure) // whoever speaks https once is not spoken to otherwise
	r.base = url.URL{Scheme: "https", Host: host}
	if challenge.Insecure {
		r.base.Scheme = "http"
	}
	token := &transport.Token{}
	if strings.EqualFold(challenge.Scheme, "bearer") {
		if token, err = transport.Exchange(ctx, r.name.Registry, auth, g, []string{r.name.Scope(transport.PullScope)}, challenge); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if token.Token == "" {
			token.Token = token.AccessToken
		}
	}
	logged, err := transport.FromToken(r.name.Registry, auth, g, challenge, token)
	r.client = &http.Client{Transport: logged, CheckRedirect: checkRedirect}
	return err
}

// String is the repository's name with its registry.
func (r *Repository) String() string { return r.name.Name() }

// Reference is the tag or digest that Open was given, "latest" if none.
func (r *Repository) Reference() string { return r.ref }

// tag is what a pushed root is called, "" if it goes by its digest.
func (r *Repository) tag() string {
	if _, err := digest.Parse(r.ref); err == nil {
		return ""
	}
	return r.ref
}

// address is the URL of something below the repository.
func (r *Repository) address(parts ...string) *url.URL {
	u := r.base
	u.Path = "/v2/" + r.name.RepositoryStr() + "/" + strings.Join(parts, "/")
	return &u
}

// loopback tells whether host is this machine by its name alone: nobody on a wire can be meant.
func loopback(host string) bool {
	u := url.URL{Host: host}
	h := u.Hostname()
	ip, err := netip.ParseAddr(h)
	return h == "localhost" || err == nil && ip.IsLoopback()
}
