package live

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roles are what the test binary is when a test starts it as another process.
var roles = map[string]func(args []string) error{
	"jsonl": jsonlWriter, "sqlite": sqliteWriter, "stage": stager, "freeze": freezer, "chroma": chromaWriter,
}

func TestMain(m *testing.M) {
	if role := os.Getenv("LIVE_TEST_ROLE"); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child is another process in a role; what it prints comes by lines.
type child struct {
	*exec.Cmd
	lines *bufio.Scanner
}

func start(t *testing.T, role string, args ...string) *child {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "LIVE_TEST_ROLE="+role)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	check(t, err)
	check(t, c.Start())
	t.Cleanup(func() { c.Process.Signal(syscall.SIGCONT); c.Process.Kill(); c.Wait() })
	return &child{c, bufio.NewScanner(out)}
}

// first waits for the first line.
func (c *child) first(t *testing.T) string {
	t.Helper()
	if !c.lines.Scan() {
		t.Fatal("the process ended without a word")
	}
	return c.lines.Text()
}

func (c *child) state(t *testing.T) byte {
	t.Helper()
	st, err := statPID(c.Process.Pid)
	check(t, err)
	return st.state
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running waits until a process is not stopped.
func running(t *testing.T, c *child, within time.Duration) {
	t.Helper()
	for until := time.Now().Add(within); halted(c.state(t)); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("process %d is still in state %c", c.Process.Pid, c.state(t))
		}
	}
}

// jsonlWriter appends numbered lines to a file, each in two writes.
func jsonlWriter(args []string) error {
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		line := fmt.Sprintf("{\"n\":%d,\"text\":%q}\n", i, strings.Repeat("мысль ", i%50))
		f.WriteString(line[:len(line)/2])
		f.WriteString(line[len(line)/2:])
		if i%100 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// sqliteWriter commits rows numbered from 0 and prints each number when it is committed.
func sqliteWriter(args []string) error {
	db, err := openSQLite(args[0], url.Values{"_pragma": {"journal_mode(" + args[1] + ")", "busy_timeout(60000)"}})
	if err != nil {
		return err
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, text TEXT)"); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := db.Exec("INSERT INTO t VALUES (?, ?)", i, strings.Repeat("x", 100+i%900)); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// rows returns how many rows a clean copy has, after making sure that they are the first ones.
func rows(t *testing.T, path string) int {
	t.Helper()
	for _, s := range sidecars {
		if _, err := os.Stat(path + s); err == nil {
			t.Errorf("%s%s is there", path, s)
		}
	}
	db, err := openSQLite(path, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	check(t, err)
	defer db.Close()
	var n, top sql.NullInt64
	var verdict string
	check(t, db.QueryRow("SELECT count(*), max(n) FROM t").Scan(&n, &top))
	check(t, db.QueryRow("PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" || n.Int64 > 0 && n.Int64 != top.Int64+1 {
		t.Errorf("%s: %d rows up to %d, %s", path, n.Int64, top.Int64, verdict)
	}
	return int(n.Int64)
}

// stager stages a folder again and again.
func stager(args []string) error {
	fmt.Println("ready")
	for {
		s, err := Stage(context.Background(), args[0], args[2:], args[1], Options{Docker: os.Getenv("LIVE_TEST_DOCKER")})
		if err != nil {
			return err
		}
		fmt.Println(len(s.Files))
	}
}

// freezer freezes a folder and waits for ever.
func freezer(args []string) error {
	seconds, _ := strconv.Atoi(args[1])
	f, err := Freeze(context.Background(), args[0], Options{Docker: os.Getenv("LIVE_TEST_DOCKER"), Deadline: time.Duration(seconds) * time.Second})
	if err != nil {
		return err
	}
	fmt.Println(f.guard.pid)
	select {}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}
