package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

type erasureAPI struct{ erasure *erasure.Service }

func (a erasureAPI) routes() []Route {
	return []Route{
		query("POST /auth/users/me/erase", "Erase my account", a.erase,
			fault.ActionTokenInvalid, fault.InvalidUser, fault.AlreadyErased, fault.LastAdminProtected).tag("Own account").auth(Account).cookies(),
	}
}

type erased struct {
	Erased  bool     `json:"erased"`
	UserID  string   `json:"user_id"`
	Remains []string `json:"remains" doc:"What is kept, in words."`
}

// erase always takes an action token for erase_account. The cookies that it
// leaves are of no use.
func (a erasureAPI) erase(ctx context.Context, _ struct{}) (erased, error) {
	id := identity(ctx)
	if err := a.erasure.Self(ctx, id, actionTokenOf(ctx)); err != nil {
		return erased{}, err
	}
	callerOf(ctx).clear()
	return erased{true, id.User.String(), erasure.Remains}, nil
}
