package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

type csrfAPI struct {
	sessions *session.Service
	enabled  bool
}

func (a csrfAPI) routes() []Route {
	return []Route{
		query("GET /auth/csrf", "Get the CSRF token of a browser, in a cookie too", a.csrf, fault.NotFound).tag("Sessions").cookies(),
	}
}

type csrfToken struct {
	Token string `json:"csrf_token" doc:"Repeat it in the header X-CSRF-Token of every request that changes something."`
}

// csrf gives a session in cookies the token that it is bound to, and a browser
// without a session one that its next sign-in will be bound to.
func (a csrfAPI) csrf(ctx context.Context, _ struct{}) (csrfToken, error) {
	if !a.enabled {
		return csrfToken{}, fault.New(fault.NotFound)
	}
	c := callerOf(ctx)
	token, err := a.sessions.BindCSRF(ctx, c.refreshCookie, c.came.CSRFCookie, func() string { return secret.Token(32) })
	if err != nil {
		return csrfToken{}, err
	}
	c.browser.SetCSRF(c.header, token)
	return csrfToken{token}, nil
}
