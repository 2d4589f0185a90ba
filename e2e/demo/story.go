package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

const password = "Correct-Horse-7"

// story is what happens to Ada.
type story struct {
	*stage
	email  string
	link   string // the token of the mailed link
	tokens authapi.Tokens
	old    string // the refresh token that was traded in
}

func newStory(s *stage) *story {
	return &story{stage: s, email: fmt.Sprintf("ada.%06x@example.com", rand.IntN(1<<24))}
}

// step is a sentence and the act that makes it true. The act returns what was
// seen, in words.
type step struct {
	says string
	does func(ctx context.Context) (string, error)
}

func (s *story) steps() []step {
	there, elsewhere := "", ""
	if s.first != s.last {
		there, elsewhere = " at authd A", " at authd B"
	}
	return []step{
		{"Ada signs up" + there + ".", s.signUp},
		{"A mail arrives, with a link.", s.readMail},
		{"She presses the link, which confirms her address" + elsewhere + ".", s.verify},
		{"She logs in" + there + " and asks for a token that is good at orders-api.", s.logIn},
		{"orders-api answers and knows who she is; it never saw her password.", s.showOrders},
		{"billing-api refuses the same token, because it names orders-api only.", s.refuseAtBilling},
		{"Her browser trades the refresh token for new tokens" + elsewhere + ".", s.refresh},
		{"A second tab still held the old refresh token. It comes a moment later and is not logged out.", s.refreshLate},
		{"orders-api takes the new token.", s.showOrders},
		{"She logs out" + elsewhere + ".", s.logOut},
		{"orders-api refuses her token within one second" + through(there) + ", although it has not expired.", s.refuseAtOrders},
		{"Her refresh token is dead too.", s.refuseRefresh},
		{"Everything stops when asked, and in order.", s.stopAll},
	}
}

func through(there string) string { return strings.Replace(there, " at ", ", asking ", 1) }

// tell performs every step and returns how many there were.
func (s *story) tell(ctx context.Context, out io.Writer) (int, error) {
	steps := s.steps()
	for i, step := range steps {
		fmt.Fprintf(out, "%2d. %s\n", i+1, step.says)
		seen, err := step.does(ctx)
		if err != nil {
			return i, fmt.Errorf("step %d says %q, but %w", i+1, step.says, err)
		}
		fmt.Fprintf(out, "    → %s\n", seen)
	}
	return len(steps), nil
}

func (s *story) signUp(ctx context.Context) (string, error) {
	a, err := s.first.Signup(ctx, s.email, password)
	return "POST /auth/signup: " + a.String(), err
}

func (s *story) readMail(ctx context.Context) (string, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	mail, err := s.first.AwaitMail(ctx, s.email, 1)
	if err != nil {
		return "", err
	}
	if len(mail.Tokens) != 1 {
		return "", fmt.Errorf("the mail has %d links with a token instead of one:\n%s", len(mail.Tokens), mail.Text)
	}
	s.link = mail.Tokens[0]
	return fmt.Sprintf("%q to %s, %d ms later: %s", mail.Subject, mail.To, time.Since(begin).Milliseconds(), mail.Links[0]), nil
}

func (s *story) verify(ctx context.Context) (string, error) {
	a, err := s.last.Verify(ctx, s.link)
	return "POST /auth/verify-email: " + a.String(), err
}

func (s *story) logIn(ctx context.Context) (seen string, err error) {
	if s.tokens, err = s.first.Login(ctx, s.email, password, "orders-api"); err != nil {
		return "", err
	}
	return fmt.Sprintf("POST /auth/login: 200, an access token for %d minutes (%s) and a refresh token (%s)",
		s.tokens.ExpiresIn/60, ending(s.tokens.Access), ending(s.tokens.Refresh)), nil
}

func (s *story) showOrders(ctx context.Context) (string, error) {
	a, err := ask(ctx, s.orders, s.tokens.Access)
	if err != nil {
		return "", err
	}
	var body struct {
		UserID string `json:"user_id"`
		Email  string `json:"email"`
		Orders []any  `json:"orders"`
	}
	if err := json.Unmarshal(a.Body, &body); err != nil || a.Status != http.StatusOK {
		return "", fmt.Errorf("it answers %s", a)
	}
	if body.Email != s.email {
		return "", fmt.Errorf("it takes her for %q", body.Email)
	}
	return fmt.Sprintf("GET orders-api/orders: 200, %d orders of %s, user %s", len(body.Orders), body.Email, body.UserID), nil
}

func (s *story) refuseAtBilling(ctx context.Context) (string, error) {
	a, err := ask(ctx, s.bills, s.tokens.Access)
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusUnauthorized {
		return "", fmt.Errorf("it answers %s", a)
	}
	return "GET billing-api/orders: " + a.String(), nil
}

func (s *story) refresh(ctx context.Context) (seen string, err error) {
	s.old = s.tokens.Refresh
	if s.tokens, err = s.last.Refresh(ctx, s.old); err != nil {
		return "", err
	}
	if s.tokens.Refresh == s.old {
		return "", errors.New("the refresh token is still the old one")
	}
	return "POST /auth/token: 200, a new access token and a new refresh token (" + ending(s.tokens.Refresh) + ")", nil
}

func (s *story) refreshLate(ctx context.Context) (string, error) {
	tokens, err := s.first.Refresh(ctx, s.old)
	if err != nil {
		return "", err
	}
	if tokens.Refresh != s.tokens.Refresh {
		return "", errors.New("the second tab gets another refresh token than the first")
	}
	return "POST /auth/token with the old one: 200, the same new refresh token", nil
}

func (s *story) logOut(ctx context.Context) (string, error) {
	a, err := s.last.Logout(ctx, s.tokens.Refresh)
	return "POST /auth/logout: " + a.String(), err
}

func (s *story) refuseAtOrders(ctx context.Context) (string, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	asked := 0
	for ctx.Err() == nil {
		a, err := ask(ctx, s.orders, s.tokens.Access)
		asked++
		switch {
		case err != nil:
			return "", err
		case a.Status == http.StatusUnauthorized:
			return fmt.Sprintf("GET orders-api/orders: %s, %.1f ms after the logout, at request %d",
				a, float64(time.Since(begin).Microseconds())/1000, asked), nil
		case a.Status != http.StatusOK:
			return "", fmt.Errorf("it answers %s", a)
		}
	}
	return "", fmt.Errorf("it still answers after a second and %d requests", asked)
}

func (s *story) refuseRefresh(ctx context.Context) (string, error) {
	_, err := s.first.Refresh(ctx, s.tokens.Refresh)
	var refused *authapi.Refused
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return "", fmt.Errorf("it still works (%v)", err)
	}
	return fmt.Sprintf("POST /auth/token: %d %s", refused.Status, refused.Envelope().Code), nil
}

func (s *story) stopAll(ctx context.Context) (string, error) {
	begin := time.Now()
	err := s.stop(ctx)
	return fmt.Sprintf("%d programs ended with exit code 0 within %d ms", len(s.actors), time.Since(begin).Milliseconds()), err
}

// ask sends a token to a service.
func ask(ctx context.Context, service *authapi.Client, access string) (authapi.Answer, error) {
	return service.Do(ctx, "GET", "/orders", nil, "Authorization", "Bearer "+access)
}

// ending is enough of a token to tell it from another.
func ending(token string) string { return "…" + token[max(0, len(token)-6):] }
