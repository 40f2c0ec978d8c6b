package mode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/fault"
)

// Greeting is what the mind answered to the text that is run at its start: boot/greeting.json.
type Greeting struct {
	Time     time.Time `json:"time"`
	Model    string    `json:"model"` // digest of the weights
	Mode     string    `json:"mode,omitempty"`
	Question string    `json:"question"`
	Text     string    `json:"text"`
}

// Startup returns the text to run once at start: startup.greeting of the settings, else boot/startup.txt, else the recipe's
// greeting; "" is none. A startup.txt that cannot be used is an error, of kind Input where a person can mend it.
func (s *Store) Startup() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refresh(); s.settings.greeting != "" {
		return s.settings.greeting, nil
	}
	data, err := s.startupFile.read()
	if err != nil {
		return "", err
	}
	if !utf8.Valid(data) {
		return "", fault.Mark(fault.Input, fmt.Errorf("read %s: no UTF-8", StartupFile))
	}
	if text := strings.TrimSpace(string(data)); text != "" {
		return text, nil
	}
	return s.question, nil
}

// Greeting returns the greeting that was kept last, nil if none was. One that cannot be read is an error of kind Input.
func (s *Store) Greeting() (*Greeting, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := s.greetingFile.read()
	if err != nil || data == nil {
		return nil, err
	}
	var g Greeting
	if err := json.Unmarshal(data, &g); err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read %s: %w", GreetingFile, err))
	}
	return &g, nil
}

// KeepGreeting replaces the greeting; when it returns, the disk has it. One without a text is refused with kind Input.
func (s *Store) KeepGreeting(ctx context.Context, g Greeting) error {
	if strings.TrimSpace(g.Text) == "" {
		return fault.Mark(fault.Input, errors.New("keep greeting: it has no text"))
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("keep greeting: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.greetingFile.write(append(encode(g), '\n')); err != nil {
		return fmt.Errorf("keep greeting: %w", err)
	}
	return nil
}
