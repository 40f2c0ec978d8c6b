package fidelity

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// examiner asks one target. Its methods measure; functions named judge… compare what two measurements found.
type examiner struct {
	target   Target
	options  Options
	server   *service
	vectors  *chroma // nil without an address
	settings settings
	broken   error // why the settings cannot be read
	down     bool  // the server did not start
}

func newExaminer(t Target, o Options) (*examiner, error) {
	client := t.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	x := &examiner{target: t, options: o, server: &service{"the model's server", t.Server, client}}
	if t.Chroma != "" {
		x.vectors = &chroma{service{"Chroma", t.Chroma, client}}
	}
	if t.Root != "" {
		root, err := os.OpenRoot(t.Root)
		if err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		defer root.Close()
		x.settings, x.broken = readSettings(root)
	}
	if t.Modes != nil {
		x.settings = given(t.Modes, x.settings.question)
	}
	return x, nil
}

// ownQuestions are asked where the caller has none. What matters is that the answers are words of the mind.
var ownQuestions = []string{
	"Who are you?", "How are you?", "What is two plus two?", "Are you conscious?", "What did you think about yesterday?",
	"Кто ты?", "Как дела?", "Сколько будет два плюс два?", "Есть ли у тебя сознание?", "О чём ты думал вчера?",
}

// questions are the greeting in every mode, then the others without a mode.
func (x *examiner) questions() []Answer {
	greeting := cmp.Or(x.options.Greeting, x.settings.question, defaultGreeting)
	list := []Answer{{Question: greeting, Greeting: true}}
	for _, m := range x.settings.modes {
		list = append(list, Answer{Mode: m.Name, System: m.Prompt, Question: greeting, Greeting: true})
	}
	others := x.options.Questions
	if others == nil {
		others = ownQuestions
	}
	for _, q := range others {
		if len(list) < maxAnswers && !strings.EqualFold(q, greeting) {
			list = append(list, Answer{Question: q})
		}
	}
	return list
}
