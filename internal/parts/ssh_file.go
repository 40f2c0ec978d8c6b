package parts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/tool"
)

// Create implements Place.
func (h *host) Create(ctx context.Context) (File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	f := &hostFile{h: h, w: w, temp: "." + strings.ToLower(rand.Text()) + ".partial"}
	ctx, f.stop = context.WithCancel(ctx)
	f.p, err = h.start(ctx, "umask 077 && mkdir -p "+quote(h.dir)+" && cd "+quote(h.dir)+" && exec cat > "+f.temp, r, nil)
	if err := errors.Join(err, r.Close()); err != nil {
		f.stop()
		return nil, errors.Join(err, w.Close())
	}
	return f, nil
}

type hostFile struct {
	h    *host
	p    *tool.Process
	w    *os.File
	stop context.CancelFunc
	temp string
	size int64
	over bool // ssh has ended
	done bool
}

// Write implements io.Writer.
func (f *hostFile) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	f.size += int64(n)
	if err != nil && !f.over { // its own words say more than that nobody reads
		f.over = true
		f.w.Close()
		err = errors.Join(f.h.explain(context.Background(), f.p.Wait()), err)
	}
	return n, err
}

// Commit implements File.
func (f *hostFile) Commit(ctx context.Context, name string) (string, error) {
	if f.over {
		return "", fmt.Errorf("%s: it is over", f.h.text)
	}
	f.over = true
	err := errors.Join(f.w.Close(), f.h.explain(ctx, f.p.Wait()))
	if err != nil {
		return "", err
	}
	_, err = f.h.run(ctx, fmt.Sprintf(`cd %s && [ "$(wc -c < %s)" -eq %d ] && sync && mv -f %s %s`, quote(f.h.dir), f.temp, f.size, f.temp, quote("./"+path.Base(name))))
	if err != nil {
		return "", err
	}
	f.done = true
	f.stop()
	return f.h.text + "/" + path.Base(name), nil
}

// Abort implements File.
func (f *hostFile) Abort() {
	if f.done {
		return
	}
	f.done = true
	if !f.over { // ssh ends sooner by the end of its input than by a signal
		f.over = true
		f.w.Close()
		defer time.AfterFunc(2*time.Second, f.stop).Stop()
		_ = f.p.Wait()
	}
	f.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _ = f.h.run(ctx, "cd "+quote(f.h.dir)+" && rm -f "+f.temp)
}
