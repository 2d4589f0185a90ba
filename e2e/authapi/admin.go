package authapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Operator is a signed-in admin. What it does goes to one authd; At is the same
// person at another replica.
type Operator struct {
	*Client
	Email    string
	Password string
	Tokens   Tokens
	Header   []string // goes with every request, in pairs
}

// Operator signs an admin in. Whoever asks for mailed codes at sign-in cannot
// come in this way.
func (c *Client) Operator(ctx context.Context, email, password string) (*Operator, error) {
	o := &Operator{Client: c, Email: email, Password: password}
	return o, o.SignIn(ctx)
}

// At is the same operator, with the same session, at another replica.
func (o *Operator) At(c *Client) *Operator {
	other := *o
	other.Client = c
	return &other
}

// SignIn begins another session.
func (o *Operator) SignIn(ctx context.Context) (err error) {
	_, err = o.call(ctx, http.StatusOK, &o.Tokens, "POST", "/auth/login", map[string]string{"email": o.Email, "password": o.Password}, o.Header...)
	return err
}

// Reauth proves the password again: acts need no confirmation for 300 s.
func (o *Operator) Reauth(ctx context.Context) error {
	var out Tokens
	if _, err := o.Signed(ctx, &out, "POST", "/auth/reauth", map[string]string{"password": o.Password}); err != nil {
		return err
	}
	o.Tokens.Access = out.Access
	return nil
}

// Ask sends a request with the access token and judges nothing.
func (o *Operator) Ask(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	return o.Do(ctx, method, path, body, o.signed(header)...)
}

// Signed sends a request with the access token alone: within 300 s of a sign-in
// that is proof enough for most acts. into may be nil.
func (o *Operator) Signed(ctx context.Context, into any, method, path string, body any, header ...string) (Answer, error) {
	return o.call(ctx, http.StatusOK, into, method, path, body, o.signed(header)...)
}

func (o *Operator) signed(more []string) []string {
	header := append([]string{"Authorization", "Bearer " + o.Tokens.Access}, o.Header...)
	return append(header, more...)
}

// Confirm gets a token that confirms one act, by a mailed code. target may be
// empty. An account is mailed five codes an hour.
func (o *Operator) Confirm(ctx context.Context, action, target string) (token string, err error) {
	before, err := o.Mails(ctx, o.Email)
	if err != nil {
		return "", err
	}
	read := map[string]bool{}
	for _, m := range before {
		read[m.ID] = true
	}
	if _, err := o.Signed(ctx, nil, "POST", "/auth/otp/request/action", map[string]string{"action": action, "target": target}); err != nil {
		return "", err
	}
	mail, err := o.AwaitMailThat(ctx, o.Email, func(mails []Mail) (Mail, bool) {
		for _, m := range mails {
			if !read[m.ID] && len(m.Codes) == 1 && m.Subject == "Verification code for "+action {
				return m, true
			}
		}
		return Mail{}, false
	})
	if err != nil {
		return "", err
	}
	var out struct {
		Token string `json:"action_token"`
	}
	_, err = o.Signed(ctx, &out, "POST", "/auth/otp/verify/action", map[string]string{"action": action, "code": mail.Codes[0]})
	return out.Token, err
}

// Confirmed sends a request with a confirmation of the act.
func (o *Operator) Confirmed(ctx context.Context, action, target string, into any, method, path string, body any) (Answer, error) {
	token, err := o.Confirm(ctx, action, target)
	if err != nil {
		return Answer{}, err
	}
	return o.Signed(ctx, into, method, path, body, "X-Action-Token", token)
}

// Act sends a request and brings what it is asked for: an access token that is
// not outdated, the password again, a confirmation by mailed code. target is
// what the confirmation is then for; it may be empty.
func (o *Operator) Act(ctx context.Context, target string, into any, method, path string, body any) (Answer, error) {
	for range 2 {
		a, err := o.Signed(ctx, into, method, path, body)
		var refused *Refused
		if !errors.As(err, &refused) {
			return a, err
		}
		switch code := refused.Envelope().Code; {
		case code == "token_expired":
			if o.Tokens, err = o.Refresh(ctx, o.Tokens.Refresh); err != nil {
				return a, err
			}
		case code == "reauth_required":
			if err := o.Reauth(ctx); err != nil {
				return a, err
			}
		case refused.Header.Get("X-OTP-Action") != "":
			return o.Confirmed(ctx, refused.Header.Get("X-OTP-Action"), target, into, method, path, body)
		default:
			return a, err
		}
	}
	return o.Signed(ctx, into, method, path, body)
}

// List reads all pages of a list.
func List[T any](ctx context.Context, o *Operator, path string) (all []T, err error) {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	next := ""
	for range 1000 {
		var page struct {
			Data       []T     `json:"data"`
			NextCursor *string `json:"next_cursor"`
			HasMore    bool    `json:"has_more"`
		}
		at := path
		if next != "" {
			at += separator + "cursor=" + next
		}
		if _, err := o.Signed(ctx, &page, "GET", at, nil); err != nil {
			return all, err
		}
		if page.HasMore != (page.NextCursor != nil) {
			return all, fmt.Errorf("%s: has_more is %t, next_cursor %v", at, page.HasMore, page.NextCursor)
		}
		all = append(all, page.Data...)
		if !page.HasMore {
			return all, nil
		}
		next = *page.NextCursor
	}
	return all, fmt.Errorf("%s: no end of pages", path)
}

// User is an account as an admin sees it.
type User struct {
	ID              string    `json:"id"`
	Email           string    `json:"email"`
	Role            string    `json:"role"`
	IsActive        bool      `json:"is_active"`
	EmailVerified   bool      `json:"email_verified"`
	EmailOTPEnabled bool      `json:"email_otp_enabled"`
	Locked          bool      `json:"locked"`
	LockRetryAfter  *int      `json:"lock_retry_after"`
	CreatedAt       time.Time `json:"created_at"`
	UpdatedAt       time.Time `json:"updated_at"`
	ActiveSessions  int       `json:"active_session_count"`
	PasswordSet     bool      `json:"password_set"`
}

// User shows an account.
func (o *Operator) User(ctx context.Context, id string) (u User, err error) {
	_, err = o.Signed(ctx, &u, "GET", "/admin/users/"+id, nil)
	return u, err
}

// NewUser makes an account with a confirmed address.
func (o *Operator) NewUser(ctx context.Context, email, password string) (u User, err error) {
	_, err = o.Act(ctx, "", &u, "POST", "/admin/users", map[string]any{"email": email, "password": password, "email_verified": true})
	return u, err
}

// SetRole makes an account an admin or a user.
func (o *Operator) SetRole(ctx context.Context, id, role string) (u User, err error) {
	_, err = o.Act(ctx, id, &u, "PATCH", "/admin/users/"+id, map[string]string{"role": role})
	return u, err
}
