package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/authsdk/authsdk/internal/server"
)

type adminCmd struct {
	Create adminCreateCmd `cmd:"" help:"Make an admin, or make one of an account that is there."`
}

type adminCreateCmd struct {
	Email string `arg:"" help:"Its address."`
	Stdin bool   `name:"password-stdin" help:"Read the password from the first line of standard input. Without it one is made and shown once."`
	JSON  bool   `name:"json" help:"Tell the result as a JSON object."`
}

// madeAdmin is what --json prints.
type madeAdmin struct {
	userItem
	Made     bool   `json:"made"`               // false: the account was there
	Password string `json:"password,omitempty"` // if one was made
}

// Run implements the command.
func (c *adminCreateCmd) Run(e *env) error {
	given := ""
	if c.Stdin {
		var err error
		if given, err = firstLine(os.Stdin); err != nil {
			return err
		}
	}
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		password := given
		if !c.Stdin {
			password = s.Passwords.Generate()
		}
		d, made, err := s.Users.MakeAdmin(ctx, s.By, c.Email, password)
		if err != nil {
			return err
		}
		if !made || c.Stdin {
			password = ""
		}
		switch {
		case c.JSON:
			return printJSON(e, madeAdmin{userItemOf(d), made, password})
		case !made:
			fmt.Fprintf(e.out, "%s is an admin; the password stays.\n", d.Email)
		case c.Stdin:
			fmt.Fprintf(e.out, "%s made.\n", d.Email)
		default:
			fmt.Fprintf(e.out, "%s made.\nPassword: %s (shown only this once)\n", d.Email, password)
		}
		return nil
	})
}

// firstLine reads a password.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("standard input has no password: put it on the first line")
	}
	return line, nil
}
