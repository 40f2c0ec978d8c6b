// Package blocks presents what is stored in equal blocks, compressed or scattered, as one io.ReaderAt.
package blocks

import (
	"errors"
	"io"
	"sync"
)

// Cache keeps the blocks used last. The zero value is not usable; call NewCache. It is not safe for concurrent use.
type Cache struct {
	size  int
	limit int
	load  func(number int64, dst []byte) error
	data  map[int64][]byte
	queue []int64 // numbers of data, the next to go first
}

// NewCache returns a Cache of at most limit blocks of size bytes. load fills dst, which holds anything, with a block.
func NewCache(size, limit int, load func(number int64, dst []byte) error) *Cache {
	return &Cache{size: size, limit: max(1, limit), load: load, data: map[int64][]byte{}}
}

// Get returns a block. It is valid until the next call.
func (c *Cache) Get(number int64) ([]byte, error) {
	if b, ok := c.data[number]; ok {
		return b, nil
	}
	var b []byte
	if len(c.queue) >= c.limit {
		oldest := c.queue[0]
		c.queue = append(c.queue[:0], c.queue[1:]...)
		b = c.data[oldest]
		delete(c.data, oldest)
	}
	if b == nil {
		b = make([]byte, c.size)
	}
	if err := c.load(number, b); err != nil {
		return nil, err
	}
	c.data[number] = b
	c.queue = append(c.queue, number)
	return b, nil
}

// Reader is an io.ReaderAt over blocks. It is safe for concurrent use.
type Reader struct {
	size  int64
	mu    sync.Mutex
	cache *Cache
}

// NewReader returns a Reader of size bytes that lie in c's blocks.
func NewReader(size int64, c *Cache) *Reader { return &Reader{size: size, cache: c} }

// Size is the number of bytes that can be read.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, int64(r.cache.size)
	for n < len(p) && off < r.size {
		b, err := r.cache.Get(off / size)
		if err != nil {
			return n, err
		}
		b = b[off%size : min(size, r.size-off/size*size)]
		m := copy(p[n:], b)
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
