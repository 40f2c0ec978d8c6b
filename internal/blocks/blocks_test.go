package blocks

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestReaderGivesTheBytes(t *testing.T) {
	want := make([]byte, 1000)
	for i := range want {
		want[i] = byte(i * 7)
	}
	loads := 0
	c := NewCache(64, 3, func(n int64, dst []byte) error {
		loads++
		clear(dst)
		copy(dst, want[n*64:])
		return nil
	})
	r := NewReader(int64(len(want)), c)
	if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), want); err != nil {
		t.Error(err)
	}
	if len(c.data) > 3 || len(c.queue) != len(c.data) {
		t.Errorf("%d blocks kept, %d queued", len(c.data), len(c.queue))
	}
	before := loads
	for range 5 {
		if _, err := r.ReadAt(make([]byte, 10), 990); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	if loads > before+1 {
		t.Errorf("%d loads of one block", loads-before)
	}
	if _, err := r.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset was taken")
	}
}

func TestFailedLoadIsNotKept(t *testing.T) {
	fail := true
	r := NewReader(8, NewCache(8, 1, func(_ int64, dst []byte) error {
		if fail {
			return errors.New("broken")
		}
		copy(dst, "12345678")
		return nil
	}))
	b := make([]byte, 8)
	if _, err := r.ReadAt(b, 0); err == nil {
		t.Fatal("no error")
	}
	fail = false
	if _, err := r.ReadAt(b, 0); err != nil || !bytes.Equal(b, []byte("12345678")) {
		t.Errorf("%q, %v", b, err)
	}
}
