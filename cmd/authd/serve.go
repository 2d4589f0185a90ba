package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/mattn/go-isatty"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/server"
)

// garbagePercent lets the heap grow to four times what is alive, not twice,
// between collections: what is alive is small, and collecting it was a tenth of
// the processor time of the short requests. GOGC in the environment goes before.
const garbagePercent = 300

type serveCmd struct {
	Migrate bool     `help:"Migrate PostgreSQL first. SQLite always is."`
	Roles   []string `help:"What this process does: api answers requests, worker works jobs and sends webhooks. Default: both." placeholder:"api,worker"`
}

// Run implements the command.
func (c *serveCmd) Run(e *env) error {
	cfg, err := load(e)
	if err != nil {
		return err
	}
	file, isFile := e.out.(*os.File)
	log := server.NewLog(e.out, isFile && isatty.IsTerminal(file.Fd()), cfg)
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	// The port first: a taken one must not leave an admin whose password
	// nobody saw.
	listener, err := net.Listen("tcp", cfg.ListenAddr())
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w (another authd may be running already; otherwise set APP__PORT)", cfg.ListenAddr(), err)
	}
	s, err := server.New(e.ctx, cfg, log, server.Options{Migrate: c.Migrate, Roles: c.Roles, Hash: hashIn(cfg)})
	if err != nil {
		listener.Close()
		return err
	}
	// Starting hashes and parses; give that memory back before the idle hours.
	debug.FreeOSMemory()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if err := setSlices(short); err != nil { // as in a sandbox
		log.Debug("the kernel's time slices stay", "error", err)
	}
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == 1 {
		runtime.GOMAXPROCS(2) // else all wait while SQLite waits for the disk
	}
	log.Info("listening", "address", listener.Addr().String(), "database", engine(cfg))
	if cfg.Development() && s.Serves() {
		fmt.Fprint(e.out, welcome(cfg, listener.Addr(), s.FirstAdmin))
	}
	return s.Run(e.ctx, listener)
}

func engine(cfg *config.Config) string {
	scheme, _, _ := strings.Cut(cfg.Database.URL.Reveal(), "://")
	return scheme
}

// audience is a name that a login may ask for.
func audience(cfg *config.Config) string {
	if len(cfg.Auth.Audiences) > 0 {
		return cfg.Auth.Audiences[0]
	}
	return "orders-api"
}

// welcome tells a newcomer what to try next.
func welcome(cfg *config.Config, address net.Addr, admin *server.Admin) string {
	base := "http://" + address.String()
	if tcp, ok := address.(*net.TCPAddr); ok {
		base = fmt.Sprintf("http://localhost:%d", tcp.Port)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `
authd is ready: %[1]s

Try it (copy line by line):

  # 1. sign up
  curl -s %[1]s/auth/signup -H 'Content-Type: application/json' -d '{"email":"you@example.com","password":"Correct-Horse-7"}'

`, base)
	if cfg.Email.SMTP().Host == "" {
		fmt.Fprintf(&b, `  # 2. read the mail: open %[1]s/dev/mailbox and press the link, or
  TOKEN=$(curl -s '%[1]s/dev/mailbox/messages?to=you@example.com' | grep -o '"tokens":\["[^"]*' | head -1 | cut -d'"' -f4)
  curl -s %[1]s/auth/verify-email -H 'Content-Type: application/json' -d "{\"token\":\"$TOKEN\"}"

`, base)
	} else {
		fmt.Fprint(&b, "  # 2. open the link in the mail\n\n")
	}
	fmt.Fprintf(&b, `  # 3. log in for a service of yours
  ACCESS=$(curl -s %[1]s/auth/login -H 'Content-Type: application/json' -d '{"email":"you@example.com","password":"Correct-Horse-7","audience":"%[2]s"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

  # 4. ask whether the token is good: 204
  curl -s -o /dev/null -w '%%{http_code}\n' %[1]s/auth/validate -H "Authorization: Bearer $ACCESS"

Then: make a service trust it (README, "Protect a service"), or run make demo.

`, base, audience(cfg))
	if cfg.Email.SMTP().Host == "" {
		fmt.Fprintf(&b, "Mailbox    %s/dev/mailbox\n", base)
	}
	if cfg.App.ExposeDocs {
		fmt.Fprintf(&b, "API docs   %s/docs\n", base)
	}
	if admin != nil {
		fmt.Fprintf(&b, "Admin      %s, password %s (shown only this once)\n", admin.Email, admin.Password)
	}
	fmt.Fprint(&b, "Stop       Ctrl-C\n\n")
	return b.String()
}
