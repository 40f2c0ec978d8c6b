package trace

import (
	"bytes"
	"strconv"
	"strings"
)

// pairs calls f with what was set, in the order of Settings and Timings.
func pairs(r Record, f func(key, value string)) {
	number := func(key string, v *float64) {
		if v != nil {
			f(key, strconv.FormatFloat(*v, 'g', -1, 64))
		}
	}
	whole := func(key string, v *int) {
		if v != nil {
			f(key, strconv.Itoa(*v))
		}
	}
	s, t := r.Settings, r.Timings
	number("temperature", s.Temperature)
	if s.Seed != nil {
		f("seed", strconv.FormatUint(uint64(*s.Seed), 10))
	}
	whole("top_k", s.TopK)
	number("top_p", s.TopP)
	number("min_p", s.MinP)
	number("repeat_penalty", s.RepeatPenalty)
	whole("n_predict", s.Predict)
	for i, w := range s.Stop {
		f("stop."+strconv.Itoa(i), w)
	}
	for _, n := range []struct {
		key string
		n   int
	}{{"prompt_n", t.PromptN}, {"predicted_n", t.PredictedN}} {
		if n.n != 0 {
			whole(n.key, &n.n)
		}
	}
	for _, n := range []struct {
		key string
		ms  float64
	}{{"prompt_ms", t.PromptMS}, {"predicted_ms", t.PredictedMS}, {"queue_ms", t.QueueMS}, {"first_ms", t.FirstMS}, {"total_ms", t.TotalMS}} {
		if n.ms != 0 {
			number(n.key, &n.ms)
		}
	}
	if r.Redacted {
		f("redacted", "true")
	}
}

// appendText writes a clean record for people: a block whose lines are never empty, then an empty line.
func appendText(to *bytes.Buffer, r Record) {
	to.WriteString(r.Time.Format(timeForm))
	for _, s := range []string{r.ID, r.Source, r.Role, r.Mode, r.Model} {
		if s == "" {
			s = "-"
		}
		to.WriteByte(' ')
		appendSafe(to, s, "")
	}
	to.WriteByte('\n')
	for _, m := range r.Messages {
		appendPart(to, m.Role, m.Content)
	}
	if r.Prompt != "" {
		appendPart(to, "prompt", r.Prompt)
	}
	if r.Answer != "" {
		appendPart(to, "answer", r.Answer)
	}
	if r.Error != "" {
		appendPart(to, "error", r.Error)
	}
	first := true
	pairs(r, func(key, value string) {
		if first {
			to.WriteByte('(')
		} else {
			to.WriteByte(' ')
		}
		first = false
		appendPair(to, key, value)
	})
	if !first {
		to.WriteString(")\n")
	}
	to.WriteByte('\n')
}

// appendPart indents what follows a line break, so that no text can pass for another part.
func appendPart(to *bytes.Buffer, label, text string) {
	appendSafe(to, label, "")
	to.WriteString(": ")
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			to.WriteString("\n  ")
		}
		appendSafe(to, line, "\t")
	}
	to.WriteByte('\n')
}

// appendLogfmt writes a clean record as one line of key=value.
func appendLogfmt(to *bytes.Buffer, r Record) {
	to.WriteString("time=")
	to.WriteString(r.Time.Format(timeForm))
	add := func(key, value string) {
		if value != "" {
			to.WriteByte(' ')
			appendPair(to, key, value)
		}
	}
	add("id", r.ID)
	add("source", r.Source)
	add("role", r.Role)
	add("mode", r.Mode)
	add("model", r.Model)
	for i, m := range r.Messages {
		n := "messages." + strconv.Itoa(i)
		add(n+".role", m.Role)
		add(n+".content", m.Content)
	}
	add("prompt", r.Prompt)
	add("answer", r.Answer)
	var ids []byte
	for i, n := range r.Tokens {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = strconv.AppendInt(ids, int64(n), 10)
	}
	add("tokens", string(ids))
	pairs(r, add)
	add("error", r.Error)
	to.WriteByte('\n')
}

const bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+-,@"

func appendPair(to *bytes.Buffer, key, value string) {
	to.WriteString(key)
	to.WriteByte('=')
	if strings.Trim(value, bare) == "" && value != "" {
		to.WriteString(value)
		return
	}
	to.WriteByte('"')
	appendSafe(to, quote.Replace(value), "")
	to.WriteByte('"')
}

var quote = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
