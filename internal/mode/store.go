package mode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/agibake/agibake/internal/wire"
)

// The files, below the state's root.
const (
	SettingsFile = "boot/settings.json"
	CurrentFile  = "boot/mode.json"
	StartupFile  = "boot/startup.txt"
	GreetingFile = "boot/greeting.json"
)

const (
	maxSettings = 4 << 20 // bytes, as for fidelity
	maxCurrent  = 4 << 10
	maxStartup  = 64 << 10
	maxGreeting = 1 << 20
)

// None is the name of the zero Mode: the model as it is.
const None = ""

// Store is the modes of one state. Files that others change are read again when they are needed. All methods may be
// called at once.
type Store struct {
	recipe   map[string]Mode
	question string // the recipe's greeting

	mu           sync.Mutex
	settingsFile file
	settings     *settings // the last good ones
	broken       error     // why settingsFile is not in use
	currentFile  file
	current      chosen
	unreadable   error // why currentFile is not in use
	startupFile  file
	greetingFile file
}

// chosen is boot/mode.json.
type chosen struct {
	Mode  string    `json:"mode"`
	Since time.Time `json:"since"`
}

// Open reads the modes of the state below root over those of the recipe. Broken files do not stop it: see Fault. The error
// is that of a root that is no folder.
func Open(root string, c wire.Config) (*Store, error) {
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", root)
	}
	if err != nil {
		return nil, fmt.Errorf("open modes: %w", err)
	}
	s := &Store{recipe: map[string]Mode{}, question: c.Greeting,
		settingsFile: file{root: root, name: SettingsFile, limit: maxSettings},
		currentFile:  file{root: root, name: CurrentFile, limit: maxCurrent},
		startupFile:  file{root: root, name: StartupFile, limit: maxStartup},
		greetingFile: file{root: root, name: GreetingFile, limit: maxGreeting},
	}
	for name, m := range c.Modes {
		s.recipe[name] = Mode{Name: name, SystemPrompt: m.SystemPrompt, Sampling: Sampling{Temperature: m.Temperature}}
	}
	s.settings = &settings{modes: s.recipe}
	s.refresh()
	return s, nil
}

// Current returns the mode in use, the zero Mode if none was chosen or the chosen one is gone.
func (s *Store) Current() Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.settings.modes[s.current.Mode].clone()
}

// List returns all modes by name.
func (s *Store) List() []Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	list := []Mode{}
	for _, m := range s.settings.modes {
		list = append(list, m.clone())
	}
	slices.SortFunc(list, func(a, b Mode) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Get returns a mode. An unknown one is an error of kind Input with the nearest name as its hint.
func (s *Store) Get(name string) (Mode, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.find(name)
}

// Switch makes a mode the current one, None the model as it is, and returns it. It survives a restart: when Switch
// returns, the disk has it. If it fails, the current mode stays; an unknown mode is an error of kind Input with the
// nearest name as its hint.
func (s *Store) Switch(ctx context.Context, name string) (Mode, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return Mode{}, fmt.Errorf("switch mode: %w", err)
	}
	s.refresh()
	m, err := s.find(name)
	if err != nil {
		return Mode{}, fmt.Errorf("switch mode: %w", err)
	}
	if s.current.Mode == name && s.unreadable == nil && s.currentFile.seen != nil {
		return m, nil
	}
	next := chosen{name, time.Now().UTC().Truncate(time.Second)}
	if err := s.currentFile.write(append(encode(next), '\n')); err != nil {
		return Mode{}, fmt.Errorf("switch mode: %w", err)
	}
	s.current, s.unreadable = next, nil
	return m, nil
}

// Fault says why a file is not in use, with line and column for the settings, or nil. Then the last good modes are.
func (s *Store) Fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	var gone error
	if _, err := s.find(s.current.Mode); err != nil {
		gone = fmt.Errorf("the current mode is gone: %w", err)
	}
	return errors.Join(s.broken, s.unreadable, gone)
}

// Notes are keys of the settings that are not known and look like slips, with line and column.
func (s *Store) Notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return slices.Clone(s.settings.notes)
}
