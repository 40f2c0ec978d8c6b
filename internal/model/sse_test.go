package model

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func events(r io.Reader) (list []string, err error) {
	for d := newDecoder(r); ; {
		e, err := d.next()
		if err != nil {
			return list, err
		}
		list = append(list, string(e))
	}
}

// The examples of the standard, and ends of lines.
func TestDecoder(t *testing.T) {
	for text, want := range map[string][]string{
		"data: YHOO\ndata: +2\ndata: 10\n\n": {"YHOO\n+2\n10"},
		": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n": {"first event", "second event", " third event"},
		"data\n\ndata\ndata\n\ndata:":                   {"", "\n"},
		"data:test\n\ndata: test\n\n":                   {"test", "test"},
		"\ufeffdata: a\r\n\r\ndata: b\r\rdata: c\n\r\n": {"a", "b", "c"},
		"data: cut off":                                 nil,
		"event: x\nretry: 1\ndatum: y\n\n":              nil,
		"error: {}\n\n":                                 {"{}"},
		"data: \ufeff\n\n":                              {"\ufeff"},
	} {
		if got, err := events(strings.NewReader(text)); !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestDecoderDoesNotWait: an event is there once its lines are, whatever ends them.
func TestDecoderDoesNotWait(t *testing.T) {
	for _, text := range []string{"data: a\n\n", "data: a\r\n\r", "data: a\r\r"} {
		in, out := io.Pipe()
		d := newDecoder(in)
		got := make(chan string, 1)
		go func() { e, _ := d.next(); got <- string(e) }()
		out.Write([]byte(text))
		if e := receive(t, got, "the event"); e != "a" {
			t.Errorf("%q: %q", text, e)
		}
		out.Close()
	}
}

func TestDecoderIsBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", maxEvent+1), strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", maxEvent/1000)} {
		if got, err := events(strings.NewReader(text)); !errors.Is(err, errEvent) || got != nil {
			t.Errorf("%v, %d events", err, len(got))
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range []string{role + event("Я") + last + end, "\ufeffdata: a\r\n\r\ndata\r\rerror:x\n\n", ": ping\n\ndata: a\ndata:b\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := events(bytes.NewReader(text))
		slow, slowErr := events(iotest.OneByteReader(bytes.NewReader(text)))
		if !slices.Equal(got, slow) || !errors.Is(slowErr, err) {
			t.Fatalf("%q, %v: byte by byte %q, %v", got, err, slow, slowErr)
		}
		var again strings.Builder
		for _, e := range got {
			if strings.ContainsAny(e, "\r") {
				t.Fatalf("the end of a line within %q", e)
			}
			again.WriteString("data: " + strings.ReplaceAll(e, "\n", "\ndata: ") + "\n\n")
			(&gathering{Answer: &Answer{}}).add([]byte(e))
		}
		if back, err := events(strings.NewReader(again.String())); !errors.Is(err, io.EOF) || !slices.Equal(back, got) {
			t.Fatalf("%q, written and read again %q, %v", got, back, err)
		}
	})
}
