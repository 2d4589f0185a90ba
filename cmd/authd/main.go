// Command authd is the auth service: one binary, all of it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == hashCommand {
		os.Exit(hashPasswords(os.Args[2], os.Args[3]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli lists the commands.
type cli struct {
	EnvFile string `name:"env-file" placeholder:"FILE" help:"Read settings from this file instead of .env in the working directory."`

	Serve       serveCmd       `cmd:"" help:"Serve until stopped."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the database schema up to date, or tell what it lacks."`
	Config      configCmd      `cmd:"" help:"Check or show the settings."`
	Doctor      doctorCmd      `cmd:"" help:"Examine configuration, database, keys, Redis and mail, and say what to do."`
	Admin       adminCmd       `cmd:"" help:"Make admins."`
	User        userCmd        `cmd:"" help:"List, show, lock, unlock and import accounts."`
	Keys        keysCmd        `cmd:"" help:"List, rotate and revoke the keys that sign tokens."`
	RotateKey   keysRotateCmd  `cmd:"" name:"rotate-signing-key" help:"The same as keys rotate."`
	Client      clientCmd      `cmd:"" help:"Make and manage machine clients, which get tokens for themselves."`
	APIKey      apikeyCmd      `cmd:"" name:"apikey" help:"Make, list, rotate and revoke API keys."`
	Webhook     webhookCmd     `cmd:"" help:"Register webhooks, see their deliveries, and try them."`
	Audit       auditCmd       `cmd:"" help:"List, export and verify what happened."`
	Purge       purgeCmd       `cmd:"" help:"Delete what is older than the settings keep it."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask a running authd whether it is ready; for containers."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	Completion  completionCmd  `cmd:"" help:"Print a script that completes commands in your shell."`
}

// env is what a command may touch.
type env struct {
	ctx     context.Context
	environ []string
	envFile string // empty: .env, if there is one
	out     io.Writer
	err     io.Writer
}

// printJSON is what --json prints.
func printJSON(e *env, value any) error {
	encoder := json.NewEncoder(e.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// run is main without the process around it.
func run(ctx context.Context, args, environ []string, out, errOut io.Writer) int {
	var c cli
	e := &env{ctx: ctx, environ: environ, out: out, err: errOut}
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("authd"),
		kong.Description("The auth service. Settings come from the environment and from .env: see docs/reference/config.md."),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.UsageOnError(),
		kong.Bind(e))
	if err != nil {
		fmt.Fprintln(errOut, "authd:", err)
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(errOut, "authd: %v (see authd --help)\n", err)
		return 2
	}
	e.envFile = c.EnvFile
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(errOut, "authd:", err)
		return 1
	}
	return 0
}
