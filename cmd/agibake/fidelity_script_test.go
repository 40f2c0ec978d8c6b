package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agibake/agibake/internal/referee/llama"
)

// llamaAnswers are what the real servers said, by request: TestE2EAnswers of internal/fidelity records them.
const llamaAnswers = "../../internal/fidelity/testdata/answers.json"

// serveAnswers stands in for llama.cpp and Chroma: it knows the answers for 24 places and one question.
func serveAnswers() (*httptest.Server, error) {
	data, err := os.ReadFile(llamaAnswers)
	if err != nil {
		return nil, err
	}
	var answers map[string]json.RawMessage
	if err := json.Unmarshal(data, &answers); err != nil {
		return nil, err
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer, known := answers[r.Method+" "+r.URL.RequestURI()+" "+string(body)]
		if !known {
			http.Error(w, "not recorded", http.StatusNotFound)
			return
		}
		w.Write(answer)
	})), nil
}

// mind FOLDER makes the state of a mind, and sets LLAMA to the address of a server that answers as the real ones did.
func mind(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(llama.State(ts.MkAbs(args[0])))
	s, err := serveAnswers()
	ts.Check(err)
	ts.Defer(s.Close)
	ts.Setenv("LLAMA", s.URL)
}
