package httpapi

import (
	"context"
	"math"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// adminUsersAPI is what operators do with people's accounts.
type adminUsersAPI struct {
	users   *directory.Service
	erasure *erasure.Service
}

const administration = "Administration"

func (a adminUsersAPI) routes() []Route {
	const id = "user_id"
	one := func(pattern, summary, action string, act func(context.Context, UserPath) (userDetail, error), faults ...fault.Code) Route {
		return query(pattern, summary, act, append(faults, fault.InvalidUser)...).tag(administration).auth(Admin).stepUp(action, id)
	}
	return []Route{
		query("GET /admin/users", "List accounts, newest first", a.list, fault.InvalidCursor).tag(administration).auth(Admin),
		endpoint("POST /admin/users", "Make an account", a.create, fault.EmailTaken).tag(administration).auth(Admin).stepUp(stepup.ManageUsers, ""),
		query("GET /admin/users/{user_id}", "Show an account", a.show, fault.InvalidUser).tag(administration).auth(Admin),
		query("PATCH /admin/users/{user_id}", "Make an account an admin's or a user's", a.setRole, fault.InvalidUser, fault.LastAdminProtected).
			tag(administration).auth(Admin).stepUp(stepup.RoleChange, id),
		query("DELETE /admin/users/{user_id}", "Delete an account; its address stays taken", a.delete, fault.InvalidUser, fault.LastAdminProtected).
			tag(administration).auth(Admin).stepUp(stepup.DeleteUser, id),
		query("DELETE /admin/users/{user_id}/erase", "Erase an account, deleted or not, and what says who it was", a.erase,
			fault.InvalidUser, fault.AlreadyErased, fault.LastAdminProtected).
			tag(administration).auth(Admin).stepUp(stepup.AdminEraseUser, id).tokenOnly(),
		query("PATCH /admin/users/{user_id}/otp", "Switch mailed codes at an account's sign-ins on or off", a.setOTP, fault.InvalidUser, fault.EmailNotVerified).
			tag(administration).auth(Admin).stepUp(stepup.ManageOTP, id),
		one("POST /admin/users/{user_id}/deactivate", "Close an account and end its sessions", stepup.ManageUsers, a.deactivate, fault.LastAdminProtected),
		one("POST /admin/users/{user_id}/reactivate", "Open a closed account again", stepup.ManageUsers, a.reactivate),
		one("POST /admin/users/{user_id}/unlock", "Forget what was guessed at an account", stepup.ManageUsers, a.unlock),
	}
}

// UserItem is an account in a list.
type UserItem struct {
	ID              string `json:"id" format:"uuid"`
	Email           string `json:"email"`
	Role            string `json:"role" enum:"user,admin,service"`
	IsActive        bool   `json:"is_active"`
	EmailVerified   bool   `json:"email_verified"`
	EmailOTPEnabled bool   `json:"email_otp_enabled" doc:"Sign-ins ask for a mailed code."`
	Locked          bool   `json:"locked" doc:"After wrong passwords or codes somebody must wait: whoever guessed, from where it was guessed."`
	LockRetryAfter  *int   `json:"lock_retry_after" doc:"Seconds until nobody must wait any more."`
	CreatedAt       string `json:"created_at" format:"date-time"`
	UpdatedAt       string `json:"updated_at" format:"date-time"`
}

type userDetail struct {
	UserItem
	ActiveSessionCount int  `json:"active_session_count"`
	PasswordSet        bool `json:"password_set" doc:"False for an account that signs in otherwise, or was invited and has not chosen one."`
}

func userItemOf(r directory.Row) UserItem {
	item := UserItem{
		ID: r.ID.String(), Email: r.Email, Role: r.Role, IsActive: r.Active, EmailVerified: r.EmailVerified, EmailOTPEnabled: r.EmailOTPEnabled,
		Locked: r.LockedFor > 0, CreatedAt: stamp(r.Created), UpdatedAt: stamp(r.Updated),
	}
	if item.Locked {
		seconds := int(math.Ceil(r.LockedFor.Seconds()))
		item.LockRetryAfter = &seconds
	}
	return item
}

func userDetailOf(d directory.Detail) userDetail {
	return userDetail{userItemOf(d.Row), d.ActiveSessions, d.PasswordSet}
}

type usersQuery struct {
	Role   string `query:"role" maxLength:"32" doc:"Only accounts of this role."`
	Email  string `query:"email" maxLength:"254" doc:"Only accounts whose address has this in it."`
	Locked string `query:"locked" enum:"true,false"`
	Active string `query:"active" enum:"true,false"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// either reads a filter that may be left out.
func either(value string) *bool {
	if value == "" {
		return nil
	}
	yes := value == "true"
	return &yes
}

func (a adminUsersAPI) list(ctx context.Context, in usersQuery) (pageOf[UserItem], error) {
	filter := directory.Filter{Role: in.Role, Email: in.Email, Locked: either(in.Locked), Active: either(in.Active)}
	page, err := a.users.List(ctx, filter, in.Cursor, in.Limit)
	return pageFrom(page, userItemOf), err
}

type newUserInput struct {
	Email         string  `json:"email" maxLength:"320" example:"you@example.com"`
	EmailVerified *bool   `json:"email_verified,omitempty" nullable:"true" doc:"The address is known to be the person's. Else it must be confirmed before the first sign-in."`
	Password      *string `json:"password,omitempty" nullable:"true" doc:"As at sign-up. Without it the person is mailed a link to choose one, which confirms the address, too."`
}

func (a adminUsersAPI) create(ctx context.Context, in newUserInput) (userDetail, error) {
	n := directory.New{Email: in.Email, Role: user.RoleUser, Verified: in.EmailVerified != nil && *in.EmailVerified}
	if in.Password != nil {
		if n.Password = *in.Password; n.Password == "" {
			return userDetail{}, fault.Invalid("password", "must not be empty")
		}
	}
	d, err := a.users.Create(ctx, by(ctx), n)
	return userDetailOf(d), err
}

// UserPath names an account.
type UserPath struct {
	UserID string `path:"user_id" format:"uuid"`
}

func (p UserPath) id() (uuid.UUID, error) { return idOf("user_id", p.UserID) }

func idOf(field, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, fault.Invalid(field, "must be a UUID")
	}
	return id, nil
}

func (a adminUsersAPI) show(ctx context.Context, in UserPath) (userDetail, error) {
	id, err := in.id()
	if err != nil {
		return userDetail{}, err
	}
	d, err := a.users.Show(ctx, id)
	return userDetailOf(d), err
}

type roleInput struct {
	UserPath
	Body struct {
		Role string `json:"role" enum:"admin,user"`
	}
}

func (a adminUsersAPI) setRole(ctx context.Context, in roleInput) (userDetail, error) {
	id, err := in.id()
	if err != nil {
		return userDetail{}, err
	}
	d, err := a.users.SetRole(ctx, by(ctx), id, in.Body.Role)
	return userDetailOf(d), err
}

type deletedUser struct {
	DeletedUserID       string      `json:"deleted_user_id" format:"uuid"`
	RevokedSessionIDs   []uuid.UUID `json:"revoked_session_ids"`
	RevokedSessionCount int         `json:"revoked_session_count"`
}

func (a adminUsersAPI) delete(ctx context.Context, in UserPath) (deletedUser, error) {
	id, err := in.id()
	if err != nil {
		return deletedUser{}, err
	}
	ended, err := a.users.Delete(ctx, by(ctx), id)
	return deletedUser{id.String(), ended, len(ended)}, err
}

type erasedUser struct {
	ErasedUserID         string   `json:"erased_user_id" format:"uuid"`
	RevokedSessionCount  int      `json:"revoked_session_count"`
	RevokedAPIKeyCount   int      `json:"revoked_api_key_count"`
	DeletedIdentityCount int      `json:"deleted_identity_count"`
	Remains              []string `json:"remains" doc:"What is kept, in words."`
}

func (a adminUsersAPI) erase(ctx context.Context, in UserPath) (erasedUser, error) {
	id, err := in.id()
	if err != nil {
		return erasedUser{}, err
	}
	c, err := a.erasure.ByAdmin(ctx, by(ctx), id)
	return erasedUser{id.String(), c.Sessions, c.Keys, c.Identities, erasure.Remains}, err
}

type otpInput struct {
	UserPath
	Body otpSwitch
}

type otpSwitch struct {
	EmailOTPEnabled bool `json:"email_otp_enabled"`
}

func (a adminUsersAPI) setOTP(ctx context.Context, in otpInput) (otpSwitch, error) {
	id, err := in.id()
	if err != nil {
		return otpSwitch{}, err
	}
	return in.Body, a.users.SetOTP(ctx, by(ctx), id, in.Body.EmailOTPEnabled)
}

func change(ctx context.Context, in UserPath, act func(context.Context, audit.By, uuid.UUID) (directory.Detail, error)) (userDetail, error) {
	id, err := in.id()
	if err != nil {
		return userDetail{}, err
	}
	d, err := act(ctx, by(ctx), id)
	return userDetailOf(d), err
}

func (a adminUsersAPI) deactivate(ctx context.Context, in UserPath) (userDetail, error) {
	return change(ctx, in, a.users.Deactivate)
}

func (a adminUsersAPI) reactivate(ctx context.Context, in UserPath) (userDetail, error) {
	return change(ctx, in, a.users.Reactivate)
}

func (a adminUsersAPI) unlock(ctx context.Context, in UserPath) (userDetail, error) {
	return change(ctx, in, a.users.Unlock)
}
