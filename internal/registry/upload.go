package registry

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	smallChunk = 4 << 20   // what registries take that refuse more in one request
	leastChunk = 256 << 10 // less is not tried

	maxLocation = 16 << 10
)

// Faults of an upload that another session mends.
var (
	errLost    = errors.New("the registry forgot the upload")
	errRefused = errors.New("the registry takes uploads whole only")
)

// upload brings one blob into a repository (distribution-spec, "Pushing blobs"): in chunks, so that it goes on after
// a fault where the registry says that it stopped; whole where it is small or the registry knows no chunks.
type upload struct {
	r     *Repository
	d     v1.Descriptor
	open  func(offset int64) (io.ReadCloser, error)
	mount string         // a repository that may have the blob already
	sent  func(int64)    // counts bytes that go to the registry
	held  func(at int64) // says how much of the blob the registry has

	session *session
	url     *url.URL // of the session
	old     bool     // an earlier process began it
	at      int64    // bytes that the registry has
	chunk   int64    // bytes in a request
	least   int64    // of them, which the registry wants

	sum    hash.Hash // of the first bytes of the blob
	hashed int64     // so many
	local  error     // what is wrong with the source
}

// run uploads the blob; mounted tells that the registry had it elsewhere.
func (u *upload) run(ctx context.Context) (mounted bool, err error) {
	u.chunk, u.sum = u.r.o.Chunk, u.d.Digest.Algorithm().Hash()
	if u.d.Size > u.chunk {
		u.session = u.r.openSession(u.d)
		defer u.session.close()
		if u.url = u.session.load(); u.url != nil {
			u.old = true
		}
	}
	best := int64(0)
	for t := u.r.tries(); ; {
		mounted, err := u.try(ctx)
		if err == nil {
			u.session.drop()
			u.held(u.d.Size)
			return mounted, nil
		}
		if u.local != nil {
			u.cancel(ctx)
			return false, u.local
		}
		if u.hashed == u.d.Size && ctx.Err() == nil { // only the answer may have been lost
			if have, _ := u.r.Has(ctx, u.d); have {
				u.session.drop()
				return false, nil
			}
		}
		if u.at > best {
			best = u.at
			t.gained()
		}
		if errors.Is(err, errLost) || errors.Is(err, errRefused) {
			u.url, u.at, u.old = nil, 0, false
			u.session.drop()
		}
		if err := t.again(ctx, err); err != nil {
			return false, u.r.explain(err)
		}
	}
}

// try goes from where the upload stands to its end.
func (u *upload) try(ctx context.Context) (mounted bool, err error) {
	whole := u.d.Size <= u.chunk || u.r.noChunks.Load()
	if u.url != nil && whole {
		u.url, u.at = nil, 0
	}
	if u.url != nil {
		err = u.status(ctx)
	} else {
		mounted, err = u.start(ctx)
	}
	if err != nil || mounted {
		return mounted, err
	}
	for u.at < u.d.Size && !whole {
		if err := u.patch(ctx); err != nil {
			return false, err
		}
	}
	return false, u.commit(ctx)
}

// start opens a session, or mounts the blob from another repository.
func (u *upload) start(ctx context.Context) (mounted bool, err error) {
	at := u.r.address("blobs", "uploads") // with a slash behind it
	at.Path += "/"
	var a *http.Response
	if from := u.mount; from != "" {
		u.mount = ""
		with := *at
		with.RawQuery = url.Values{"mount": {u.d.Digest.String()}, "from": {from}}.Encode()
		a, err = u.r.do(ctx, call{method: http.MethodPost, url: &with}, http.StatusCreated, http.StatusAccepted)
	}
	if a == nil {
		a, err = u.r.do(ctx, call{method: http.MethodPost, url: at}, http.StatusAccepted)
	}
	if err != nil {
		return false, err
	}
	drain(a)
	if a.StatusCode == http.StatusCreated {
		return true, nil
	}
	u.at, u.old = 0, false
	u.held(0)
	if n, ok := number(a.Header.Get("OCI-Chunk-Min-Length")); ok {
		u.least = n
	}
	if err := u.moved(a); err != nil {
		return false, err
	}
	if u.url == nil {
		return false, errors.New("the registry names no place for the upload")
	}
	return false, nil
}

// moved takes over the place where the upload goes on.
func (u *upload) moved(a *http.Response) error {
	to := a.Header.Get("Location")
	if to == "" {
		return nil
	}
	next, err := a.Request.URL.Parse(to)
	if err != nil || len(to) > maxLocation || next.Host == "" {
		return errors.New("the registry names no valid place for the upload")
	}
	if u.r.base.Scheme == "https" && next.Scheme != "https" {
		return fmt.Errorf("upload: %w", errPlain)
	}
	next.Fragment, next.User = "", nil
	u.url = next
	if u.d.Size > u.chunk && !u.r.noChunks.Load() {
		u.session.save(u.url)
	}
	return nil
}

// status asks how much the registry has.
func (u *upload) status(ctx context.Context) error {
	a, err := u.r.do(ctx, call{method: http.MethodGet, url: u.url}, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if status := (*statusError)(nil); errors.As(err, &status) && status.code != http.StatusUnauthorized && status.code != http.StatusForbidden && lasting(err) {
		return errLost
	}
	if err != nil {
		if u.old { // a stale address may be one that nobody answers at
			return errLost
		}
		return err
	}
	drain(a)
	at, ok := uploadRange(a.Header.Get("Range"))
	if !ok || at > u.d.Size {
		return errLost
	}
	u.at = at
	u.held(at)
	return u.moved(a)
}
