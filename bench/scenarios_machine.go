package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// command is what a command of authd prints as JSON.
func (s *site) command(into any, args ...string) error {
	cmd := exec.Command(s.authd, append(args, "--json")...)
	cmd.Dir, cmd.Env = s.dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, s.settings...)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("authd %v: %w", args, err)
	}
	return json.Unmarshal(out, into)
}

// granted asks for a token again and again.
type granted struct{ form string }

func clientGrants(s *site) (*crowd, error) {
	c := &crowd{}
	for range 4 * connections {
		var made struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		if err := s.command(&made, "client", "create", "bench", "--scope", "orders:read"); err != nil {
			return nil, err
		}
		c.join(granted{"grant_type=client_credentials&client_id=" + made.ID + "&client_secret=" + made.Secret})
	}
	return c, nil
}

func (a granted) request(b []byte) []byte {
	return fmt.Appendf(b, "POST /auth/token HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (bench)\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(a.form), a.form)
}

func (granted) reply(body []byte) (bool, error) {
	if !bytes.Contains(body, []byte(`"access_token":`)) {
		return true, errors.New("a grant without a token")
	}
	return true, nil
}

// introspecting asks about one key.
type introspecting struct{ body string }

func introspections(s *site) (*crowd, error) {
	c := &crowd{}
	for range 4 * connections {
		var made struct {
			Key string `json:"api_key"`
		}
		if err := s.command(&made, "apikey", "create", "--name", "bench", "--scope", "orders:read"); err != nil {
			return nil, err
		}
		c.join(introspecting{`{"api_key":"` + made.Key + `"}`})
	}
	return c, nil
}

func (a introspecting) request(b []byte) []byte { return post(b, "/auth/introspect", "", a.body) }

func (introspecting) reply(body []byte) (bool, error) {
	if !bytes.Contains(body, []byte(`"valid":true`)) {
		return true, errors.New("a good key is not valid")
	}
	return true, nil
}
