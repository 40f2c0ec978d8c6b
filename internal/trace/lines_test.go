package trace

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agibake/agibake/internal/fault"
)

// FuzzLines compares both readers with bytes.Split, with small steps and bounds.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc\ntorn"), uint8(1), uint8(2))
	f.Add([]byte(strings.Repeat("x", 300)+"\ny\n"+strings.Repeat("z", 300)), uint8(7), uint8(20))
	f.Add([]byte("\n\n\n"), uint8(3), uint8(0))
	f.Add([]byte("\n00\n\n"), uint8(0), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, step, most uint8) {
		var want []string
		ends := map[string]bool{}
		for at := 0; ; {
			i := bytes.IndexByte(data[at:], '\n')
			if i < 0 {
				break
			}
			if i <= int(most) {
				want = append(want, string(data[at:at+i]))
				ends[fmt.Sprint(at+i+1)] = true
			}
			at += i + 1
		}
		r := bytes.NewReader(data)
		var got []string
		l := &lines{r: r, step: int(step) + 1, most: int(most)}
		for {
			line, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			if line == nil {
				break
			}
			got = append(got, string(line))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("forward: %q, want %q", got, want)
		}
		b, err := newBackward(r, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		b.step, b.most, got = int(step)+1, int(most), nil
		for {
			line, end, err := b.next()
			if err != nil {
				t.Fatal(err)
			}
			if line == nil {
				break
			}
			if !ends[fmt.Sprint(end)] {
				t.Fatalf("a line ends at %d", end)
			}
			got = append(got, string(line))
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Fatalf("backward: %q, want %q", got, want)
		}
	})
}

// FuzzParse: what is parsed has one form in which it stays.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-25T15:04:05.123456Z","id":"1","settings":{"stop":["\n"]},"answer":"\u009b"}`))
	f.Add([]byte(`{"time":"2026-11-25T15:04:05+03:00","id":"1","messages":[{}],"timings":{"total_ms":1e300}}`))
	f.Add([]byte(`{"time":"0000-01-01T00:00:00+01:00","id":"0"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := Parse(line)
		if err != nil {
			if fault.KindOf(err) != fault.Input || r.ID != "" {
				t.Fatal(err)
			}
			return
		}
		var set lineSet
		if err := appendJSON(&set[jsonForm], r); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(set[jsonForm].Bytes())
		if err != nil {
			t.Fatal(err)
		}
		var second bytes.Buffer
		appendJSON(&second, again)
		if !bytes.Equal(second.Bytes(), set[jsonForm].Bytes()) {
			t.Fatalf("%s, then %s", set[jsonForm].Bytes(), second.Bytes())
		}
		appendText(&set[textForm], r)
		appendLogfmt(&set[logfmtForm], r)
		text := set[textForm].String()
		if strings.Count(set[logfmtForm].String(), "\n") != 1 || strings.Count(text, "\n\n") != 1 || !strings.HasSuffix(text, "\n\n") {
			t.Fatalf("%q, %q", text, set[logfmtForm].String())
		}
	})
}

// BenchmarkAppend is lines a second of about 400 bytes in the JSON form, from one and from 64 goroutines.
func BenchmarkAppend(b *testing.B) {
	for _, s := range []struct {
		name string
		sync Sync
	}{{"always", SyncAlways}, {"interval", SyncInterval}, {"never", SyncNever}} {
		for _, many := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", s.name, many), func(b *testing.B) {
				w := open(b, b.TempDir(), Options{Sync: s.sync})
				r := exchange("", strings.Repeat("слово ", 20))
				b.ReportAllocs()
				b.SetParallelism(max(1, many/2))
				var n atomic.Int64
				one := func() {
					if err := w.Append(context.Background(), r); err != nil {
						b.Error(err)
					}
					n.Add(1)
				}
				if many == 1 {
					for b.Loop() {
						one()
					}
				} else {
					b.RunParallel(func(p *testing.PB) {
						for p.Next() {
							one()
						}
					})
				}
				b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "lines/s")
			})
		}
	}
}

func BenchmarkFollow(b *testing.B) {
	w := open(b, b.TempDir(), Options{Sync: SyncNever})
	b.ReportAllocs()
	n := 0
	go func() {
		for range b.N {
			w.Append(context.Background(), exchange("", "a"))
		}
	}()
	for range w.Follow(b.Context(), Cursor{}) {
		if n++; n == b.N {
			break
		}
	}
}
