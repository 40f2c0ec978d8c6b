package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// patch sends the next chunk.
func (u *upload) patch(ctx context.Context) error {
	n := min(max(u.chunk, u.least), u.d.Size-u.at)
	body, err := u.body(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	end := u.at + n
	a, err := u.r.want(ctx, call{method: http.MethodPatch, url: u.url, body: body, size: n, header: map[string]string{
		"Content-Type": "application/octet-stream", "Content-Range": fmt.Sprintf("%d-%d", u.at, end-1),
	}}, http.StatusAccepted, http.StatusCreated, http.StatusNoContent)
	if u.local != nil {
		return u.local
	}
	if err != nil {
		return u.refused(err)
	}
	drain(a)
	got := end
	if s := a.Header.Get("Range"); s != "" {
		var ok bool
		if got, ok = uploadRange(s); !ok || got > end || got <= u.at {
			return errLost
		}
	}
	u.at = got
	return u.moved(a)
}

// refused judges why a chunk was not taken.
func (u *upload) refused(err error) error {
	var status *statusError
	if !errors.As(err, &status) {
		return err
	}
	switch status.code {
	case http.StatusRequestEntityTooLarge:
		next := u.chunk / 2
		if u.chunk > smallChunk {
			next = smallChunk
		}
		if next < leastChunk || next < u.least {
			return err
		}
		u.chunk = next
		return errLost
	case http.StatusNotFound, http.StatusGone, http.StatusConflict:
		return errLost
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented:
		if u.at == 0 {
			u.r.noChunks.Store(true)
			return errRefused
		}
		return errLost
	}
	return err
}

// commit ends the upload; what was not sent before goes with it.
func (u *upload) commit(ctx context.Context) error {
	body, err := u.body(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	n := u.d.Size - u.at
	if n == 0 {
		if err := u.check(); err != nil {
			return err
		}
	}
	to := *u.url
	if to.RawQuery != "" {
		to.RawQuery += "&"
	}
	to.RawQuery += "digest=" + url.QueryEscape(u.d.Digest.String()) // what is there stays as it is: it may be signed
	a, err := u.r.want(ctx, call{method: http.MethodPut, url: &to, body: body, size: n, work: u.d.Size,
		header: map[string]string{"Content-Type": "application/octet-stream"}}, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	if u.local != nil {
		return u.local
	}
	if u.hashed == u.d.Size {
		if err := u.check(); err != nil {
			return err
		}
	}
	if err == nil {
		drain(a)
		u.at = u.d.Size
		return nil
	}
	if n > 0 {
		u.url = nil // a part may be there: it cannot be told
	}
	var status *statusError
	switch {
	case !errors.As(err, &status):
	case status.code == http.StatusRequestEntityTooLarge && n > smallChunk && u.chunk > smallChunk && !u.r.noChunks.Load():
		u.chunk = smallChunk
		return errLost
	case status.code == http.StatusNotFound || u.old && lasting(err):
		return errLost
	}
	return err
}

// cancel gives an upload up that can never end well.
func (u *upload) cancel(ctx context.Context) {
	u.session.drop()
	if u.url == nil || ctx.Err() != nil {
		return
	}
	if a, err := u.r.send(ctx, call{method: http.MethodDelete, url: u.url}); err == nil {
		drain(a)
	}
}
