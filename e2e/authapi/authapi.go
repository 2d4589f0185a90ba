// Package authapi calls authd over HTTP, as a foreign client would: it shares
// no code with it.
package authapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls one authd. Every client has connections of its own.
type Client struct {
	Base string // http://127.0.0.1:8000
	HTTP *http.Client
}

// New makes a client that waits at most patience for an answer.
func New(base string, patience time.Duration) *Client {
	return &Client{base, &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Answer is a whole HTTP answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Envelope is the body of every refusal.
type Envelope struct {
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
}

// Envelope reads a refusal; it is empty if the body is none.
func (a Answer) Envelope() (e Envelope) {
	json.Unmarshal(a.Body, &e)
	return e
}

// String is the answer on one line: the status and the body.
func (a Answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, a.Body))
}

// Refused is the error of an answer that is no success.
type Refused struct{ Answer }

func (e *Refused) Error() string { return "refused: " + e.String() }

// Do sends a request. body may be nil, bytes or text that go out as they are,
// or a value that goes out as JSON.
func (c *Client) Do(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	case string:
		reader = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return Answer{}, err
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, reader)
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, text}, err
}

// call is Do for one kind of success. into may be nil.
func (c *Client) call(ctx context.Context, success int, into any, method, path string, body any, header ...string) (Answer, error) {
	a, err := c.Do(ctx, method, path, body, header...)
	if err != nil {
		return a, err
	}
	if a.Status != success {
		return a, &Refused{a}
	}
	if into != nil {
		if err := json.Unmarshal(a.Body, into); err != nil {
			return a, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return a, nil
}

// Tokens is what a login and a refresh answer.
type Tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
}

// Signup asks for an account.
func (c *Client) Signup(ctx context.Context, email, password string) (Answer, error) {
	return c.call(ctx, http.StatusCreated, nil, "POST", "/auth/signup", map[string]string{"email": email, "password": password})
}

// Verify confirms an address with the token of a mail.
func (c *Client) Verify(ctx context.Context, token string) (Answer, error) {
	return c.call(ctx, http.StatusOK, nil, "POST", "/auth/verify-email", map[string]string{"token": token})
}

// Login begins a session. audience may be empty.
func (c *Client) Login(ctx context.Context, email, password, audience string) (t Tokens, err error) {
	in := map[string]string{"email": email, "password": password}
	if audience != "" {
		in["audience"] = audience
	}
	_, err = c.call(ctx, http.StatusOK, &t, "POST", "/auth/login", in)
	return t, err
}

// Refresh trades a refresh token for a new pair.
func (c *Client) Refresh(ctx context.Context, refresh string) (t Tokens, err error) {
	_, err = c.call(ctx, http.StatusOK, &t, "POST", "/auth/token", map[string]string{"refresh_token": refresh})
	return t, err
}

// Logout ends the session of a refresh token.
func (c *Client) Logout(ctx context.Context, refresh string) (Answer, error) {
	return c.call(ctx, http.StatusNoContent, nil, "POST", "/auth/logout", map[string]string{"refresh_token": refresh})
}

// Validate asks whether an access token is good right now.
func (c *Client) Validate(ctx context.Context, access string) (Answer, error) {
	return c.call(ctx, http.StatusNoContent, nil, "GET", "/auth/validate", nil, "Authorization", "Bearer "+access)
}

// Mail is a message of the development mailbox.
type Mail struct {
	ID      string   `json:"id"`
	To      string   `json:"to"`
	Subject string   `json:"subject"`
	Text    string   `json:"text"`
	Links   []string `json:"links"`
	Tokens  []string `json:"tokens"`
	Codes   []string `json:"codes"`
}

// Mails lists what was mailed to an address, newest first.
func (c *Client) Mails(ctx context.Context, to string) ([]Mail, error) {
	var out struct{ Messages []Mail }
	_, err := c.call(ctx, http.StatusOK, &out, "GET", "/dev/mailbox/messages?to="+url.QueryEscape(to), nil)
	return out.Messages, err
}

// AwaitMail returns the newest mail to an address once there are n of them.
func (c *Client) AwaitMail(ctx context.Context, to string, n int) (Mail, error) {
	return c.AwaitMailThat(ctx, to, func(mails []Mail) (Mail, bool) {
		if len(mails) < n {
			return Mail{}, false
		}
		return mails[0], true
	})
}

// AwaitMailThat returns what pick finds among the mails to an address, which
// it gets newest first.
func (c *Client) AwaitMailThat(ctx context.Context, to string, pick func([]Mail) (Mail, bool)) (Mail, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := "not asked yet"
	for {
		mails, err := c.Mails(ctx, to)
		if err == nil {
			if mail, ok := pick(mails); ok {
				return mail, nil
			}
		}
		select {
		case <-tick.C:
			if last = fmt.Sprintf("%d mails", len(mails)); err != nil {
				last = err.Error()
			}
		case <-ctx.Done():
			return Mail{}, fmt.Errorf("the mail to %s does not arrive (%s): %w", to, last, ctx.Err())
		}
	}
}
