package pages

import (
	"context"
	"net/http"

	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// click is the page of a link that asks for one click: mail scanners open links,
// and would use the token up.
type click struct {
	form, done, failed string // templates
	act                func(ctx context.Context, token string) error
	bad                fault.Code // what act answers to a token that does not work
}

// clicks are those pages, by path.
func (p *Pages) clicks() map[string]click {
	return map[string]click{
		signup.VerifyPage:   {"verify.html", "verified.html", "verify_failed.html", p.Signup.VerifyEmail, fault.InvalidVerifyToken},
		account.ConfirmPage: {"email_change.html", "email_changed.html", "email_change_failed.html", p.Account.ConfirmEmail, fault.InvalidEmailChange},
		account.UndoPage:    {"email_undo.html", "email_undone.html", "email_change_failed.html", p.Account.UndoEmail, fault.InvalidEmailChange},
	}
}

// ask shows the button.
func (p *Pages) ask(c click) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		token := r.URL.Query().Get("token")
		if token == "" {
			return p.render(w, http.StatusBadRequest, c.failed, nil)
		}
		return p.render(w, http.StatusOK, c.form, struct{ Token string }{token})
	}
}

// press does what the button says. The link's token is the credential: no other
// site can have a browser press it.
func (p *Pages) press(c click) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := r.ParseForm(); err != nil {
			return web.BodyFault(err)
		}
		err := c.act(r.Context(), r.PostForm.Get("token"))
		switch {
		case fault.Has(err, c.bad):
			return p.render(w, http.StatusBadRequest, c.failed, nil)
		case err != nil:
			return err
		}
		return p.render(w, http.StatusOK, c.done, nil)
	}
}
