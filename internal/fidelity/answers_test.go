package fidelity

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	realchroma "github.com/agibake/agibake/internal/referee/chroma"
	"github.com/agibake/agibake/internal/referee/llama"
)

// answersFile holds what the real servers answered to each request, without what nobody reads. To make it again, run
// TestE2EAnswers with AGIBAKE_RECORD=1.
const answersFile = "testdata/answers.json"

// smallOptions keep the recording small.
var smallOptions = Options{Prefixes: 24, Questions: []string{"Сколько будет два плюс два?"}}

// keyOf names a request.
func keyOf(r *http.Request, body []byte) string {
	return r.Method + " " + r.URL.RequestURI() + " " + string(body)
}

// replayServer answers as recorded. A change may spoil an answer.
func replayServer(t testing.TB, change func(key string, answer map[string]any)) string {
	t.Helper()
	var answers map[string]json.RawMessage
	if err := json.Unmarshal([]byte(read(t, answersFile)), &answers); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		key := keyOf(r, body)
		answer, known := answers[key]
		if !known {
			http.Error(w, "not recorded: "+key, http.StatusNotFound)
			return
		}
		var object map[string]any
		if change != nil && json.Unmarshal(answer, &object) == nil {
			change(key, object)
			answer, _ = json.Marshal(object)
		}
		w.Write(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// unread are parts of answers that are large and that nobody reads.
var unread = []string{"generation_settings", "timings", "prompt", "model_path", "model_alias", "media_marker", "model"}

type recorder struct {
	mu      sync.Mutex
	answers map[string]json.RawMessage
}

// proxy passes requests on and keeps the answers.
func (r *recorder) proxy(t *testing.T, server string) string {
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		key := keyOf(req, body)
		p.ModifyResponse = func(res *http.Response) error {
			data, err := io.ReadAll(res.Body)
			res.Body = io.NopCloser(bytes.NewReader(data))
			var object map[string]any
			if json.Unmarshal(data, &object) == nil && object["prompt"] == nil || object["tokens"] != nil {
				for _, k := range unread {
					delete(object, k)
				}
				data, _ = json.Marshal(object)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.answers[key] = data
			return err
		}
		p.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestE2EAnswers writes answersFile anew.
func TestE2EAnswers(t *testing.T) {
	referee.E2E(t)
	if os.Getenv("AGIBAKE_RECORD") != "1" {
		t.Skip("records only with AGIBAKE_RECORD=1")
	}
	r := &recorder{answers: map[string]json.RawMessage{}}
	root := newState(t)
	vectors := realchroma.Serve(t, t.TempDir())
	fill(t, vectors, "thoughts", 40)
	target := Target{Server: r.proxy(t, llama.Need(t).Serve(t, llama.Plain, root)), Chroma: r.proxy(t, vectors.URL), Root: root}
	b, err := Record(t.Context(), target, smallOptions)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Check(t.Context(), target, b, Options{}); err != nil || !v.Same {
		t.Fatalf("%+v, %v", v, err)
	}
	data, err := json.MarshalIndent(r.answers, "", "")
	if err != nil {
		t.Fatal(err)
	}
	write(t, answersFile, string(data)+"\n")
}
