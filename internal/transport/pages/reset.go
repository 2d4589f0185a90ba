package pages

import (
	"net/http"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// resetForm asks for a new password. Opening it uses nothing up: mail scanners
// open links.
func (p *Pages) resetForm(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("token")
	if err := p.Recovery.CheckReset(r.Context(), token); err != nil {
		return p.resetFailed(w, err)
	}
	return p.render(w, http.StatusOK, "reset.html", resetPage{Token: token})
}

// resetPage is the form; Problem says what was wrong with the password before.
type resetPage struct{ Token, Problem string }

// reset needs no CSRF token: the link's token is the credential, and other sites
// do not know it.
func (p *Pages) reset(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return web.BodyFault(err)
	}
	token := r.PostForm.Get("token")
	err := p.Recovery.Reset(r.Context(), token, r.PostForm.Get("new_password"))
	again := resetPage{Token: token, Problem: "Choose another password: this is the one in use."}
	switch f := fault.From(err); {
	case err == nil:
		return p.render(w, http.StatusOK, "reset_done.html", nil)
	case fault.Has(err, fault.PasswordReused):
		return p.render(w, f.Code.Status, "reset.html", again)
	case fault.Has(err, fault.ValidationError) && len(f.Fields) > 0:
		again.Problem = "The password " + f.Fields[0].Message + "."
		return p.render(w, f.Code.Status, "reset.html", again)
	}
	return p.resetFailed(w, err)
}

func (p *Pages) resetFailed(w http.ResponseWriter, err error) error {
	if fault.Has(err, fault.InvalidResetToken) {
		return p.render(w, http.StatusBadRequest, "reset_failed.html", nil)
	}
	return err
}
