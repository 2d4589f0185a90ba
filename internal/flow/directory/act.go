package directory

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Provider says in events that an operator made an account.
const Provider = "admin"

// New is an account to make. Without a password its owner is mailed a link to
// choose one.
type New struct {
	Email, Role, Password string
	Verified              bool
}

// Create makes an account. Faults: action_token_invalid, validation_error,
// email_taken, service_unavailable.
func (s *Service) Create(ctx context.Context, by audit.By, n New) (d Detail, err error) {
	defer fault.Wrap(&err, "directory.Create")
	if n.Email, err = user.ParseEmail("email", n.Email); err != nil {
		return d, err
	}
	if err := checkRole(n.Role); err != nil {
		return d, err
	}
	hash := ""
	if n.Password != "" {
		if hash, err = s.Passwords.New(ctx, "password", n.Password); err != nil {
			return d, err
		}
	}
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: n.Email, Role: n.Role, Active: true, EmailVerified: n.Verified}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		return s.create(ctx, tx, now, by, u, hash)
	})
	if err != nil {
		return d, err
	}
	return s.Show(ctx, u.ID)
}

func (s *Service) create(ctx context.Context, tx *db.Tx, now time.Time, by audit.By, u user.User, hash string) error {
	created, err := user.Create(ctx, tx, now, u)
	if err != nil {
		return err
	}
	if !created {
		return fault.New(fault.EmailTaken)
	}
	if err := audit.Record(ctx, tx, now, about(by, audit.UserCreated, u.ID, map[string]any{"provider": Provider, "email_verified": u.EmailVerified})); err != nil {
		return err
	}
	if hash == "" {
		return s.Invite(ctx, tx, u.Email)
	}
	return password.Save(ctx, tx, now, u.ID, hash)
}

func checkRole(role string) error {
	if role != user.RoleUser && role != user.RoleAdmin {
		return fault.Invalid("role", "must be admin or user")
	}
	return nil
}

func about(by audit.By, t audit.Type, id uuid.UUID, metadata map[string]any) audit.Event {
	e := by.Event(t)
	e.TargetType, e.Target, e.Metadata = "user", id, metadata
	return e
}

// act runs an act on a live account, which waits for it, and shows the account
// afterwards. ends says that it can leave the service without an admin: those
// acts take turns, and whoever meanwhile is no admin any more is refused. Faults:
// action_token_invalid, insufficient_role, invalid_user, last_admin_protected.
func (s *Service) act(ctx context.Context, by audit.By, id uuid.UUID, ends bool, do func(tx *db.Tx, now time.Time, u user.User) error) error {
	return s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		now := s.Clock.Now()
		last := false
		if ends { // before all else, for the lock
			if last, err = user.LastAdmin(ctx, tx, id); err != nil {
				return err
			}
			if err := user.StillAdmin(ctx, tx, by.ID); err != nil {
				return err
			}
		}
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		u, found, err := user.Lock(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case !found:
			return fault.New(fault.InvalidUser)
		case last:
			return fault.New(fault.LastAdminProtected)
		}
		return do(tx, now, u)
	})
}

func (s *Service) shown(ctx context.Context, id uuid.UUID, err error) (Detail, error) {
	if err != nil {
		return Detail{}, err
	}
	return s.Show(ctx, id)
}

// SetRole makes an account an admin's or a user's. Its tokens must be refreshed
// then; its sessions stay. Faults: those of act, validation_error.
func (s *Service) SetRole(ctx context.Context, by audit.By, id uuid.UUID, role string) (d Detail, err error) {
	defer fault.Wrap(&err, "directory.SetRole")
	if err := checkRole(role); err != nil {
		return d, err
	}
	err = s.act(ctx, by, id, role != user.RoleAdmin, func(tx *db.Tx, now time.Time, u user.User) error {
		return s.setRole(ctx, tx, now, by, u, role)
	})
	return s.shown(ctx, id, err)
}

func (s *Service) setRole(ctx context.Context, tx *db.Tx, now time.Time, by audit.By, u user.User, role string) error {
	changed, err := s.Accounts.SetRole(ctx, tx, now, u.ID, role)
	if err != nil || !changed {
		return err
	}
	return audit.Record(ctx, tx, now, about(by, audit.UserRoleChanged, u.ID, map[string]any{"old_role": u.Role, "new_role": role}))
}

// Deactivate closes an account and ends its sessions. Faults: those of act.
func (s *Service) Deactivate(ctx context.Context, by audit.By, id uuid.UUID) (d Detail, err error) {
	defer fault.Wrap(&err, "directory.Deactivate")
	err = s.act(ctx, by, id, true, func(tx *db.Tx, now time.Time, u user.User) error {
		if !u.Active {
			return nil
		}
		ended, err := session.EndAll(ctx, tx, now, id, uuid.Nil, session.ReasonDeactivated)
		if err != nil {
			return err
		}
		if _, err := s.Accounts.SetActive(ctx, tx, now, id, false); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, session.Ended(by, id, session.ReasonDeactivated, ended),
			about(by, audit.UserDeactivated, id, map[string]any{"revoked_session_count": len(ended)}))
	})
	return s.shown(ctx, id, err)
}

// Reactivate opens a closed account. Faults: those of act.
func (s *Service) Reactivate(ctx context.Context, by audit.By, id uuid.UUID) (d Detail, err error) {
	defer fault.Wrap(&err, "directory.Reactivate")
	err = s.act(ctx, by, id, false, func(tx *db.Tx, now time.Time, _ user.User) error {
		changed, err := s.Accounts.SetActive(ctx, tx, now, id, true)
		if err != nil || !changed {
			return err
		}
		return audit.Record(ctx, tx, now, about(by, audit.UserReactivated, id, nil))
	})
	return s.shown(ctx, id, err)
}

// Unlock forgets what was guessed at an account, so that nobody waits any more.
// Faults: those of act.
func (s *Service) Unlock(ctx context.Context, by audit.By, id uuid.UUID) (d Detail, err error) {
	defer fault.Wrap(&err, "directory.Unlock")
	err = s.act(ctx, by, id, false, func(tx *db.Tx, now time.Time, u user.User) error {
		found, err := s.Risk.Unlock(ctx, tx, id, u.Email)
		if err != nil || !found {
			return err
		}
		return audit.Record(ctx, tx, now, about(by, audit.UserUnlocked, id, nil))
	})
	return s.shown(ctx, id, err)
}

// Delete ends an account and returns which sessions that ended. Its address
// stays taken until it is erased. Faults: those of act.
func (s *Service) Delete(ctx context.Context, by audit.By, id uuid.UUID) (ended []uuid.UUID, err error) {
	defer fault.Wrap(&err, "directory.Delete")
	err = s.act(ctx, by, id, true, func(tx *db.Tx, now time.Time, _ user.User) error {
		if ended, err = session.EndAll(ctx, tx, now, id, uuid.Nil, session.ReasonAdminDelete); err != nil {
			return err
		}
		keys := 0
		if s.Keys != nil {
			if keys, err = s.Keys(ctx, tx, now, id); err != nil {
				return err
			}
		}
		if err := user.EndLinks(ctx, tx, now, id); err != nil {
			return err
		}
		if _, err := s.Accounts.Delete(ctx, tx, now, id); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, session.Ended(by, id, session.ReasonAdminDelete, ended),
			about(by, audit.UserDeleted, id, map[string]any{"revoked_session_count": len(ended), "revoked_api_key_count": keys}))
	})
	return ended, err
}

// SetOTP switches mailed codes at sign-in on or off. It is recorded also where
// nothing changes. Faults: those of act, email_not_verified.
func (s *Service) SetOTP(ctx context.Context, by audit.By, id uuid.UUID, on bool) (err error) {
	defer fault.Wrap(&err, "directory.SetOTP")
	return s.act(ctx, by, id, false, func(tx *db.Tx, now time.Time, u user.User) error {
		switch {
		case !u.Active:
			return fault.New(fault.InvalidUser)
		case on && !u.EmailVerified:
			return fault.New(fault.EmailNotVerified)
		}
		if _, err := s.Accounts.SetOTP(ctx, tx, now, id, on); err != nil {
			return err
		}
		if !on {
			if err := otp.Forget(ctx, tx, id); err != nil {
				return err
			}
		}
		return audit.Record(ctx, tx, now, about(by, audit.OTPAdminToggled, id, map[string]any{"email_otp_enabled": on}))
	})
}

// MakeAdmin makes an admin: an account that is there is promoted and keeps its
// password, else one is made. Faults: validation_error, email_taken,
// service_unavailable.
func (s *Service) MakeAdmin(ctx context.Context, by audit.By, email, pass string) (d Detail, made bool, err error) {
	defer fault.Wrap(&err, "directory.MakeAdmin")
	if email, err = user.ParseEmail("email", email); err != nil {
		return d, false, err
	}
	u, found, err := user.ByEmail(ctx, s.DB.Read(), email)
	if err != nil {
		return d, false, err
	}
	if found {
		d, err = s.SetRole(ctx, by, u.ID, user.RoleAdmin)
		return d, false, err
	}
	d, err = s.Create(ctx, by, New{Email: email, Role: user.RoleAdmin, Password: pass, Verified: true})
	return d, true, err
}
