package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Admin is a newly made admin account.
type Admin struct {
	Email    string
	Password string // shown once, stored nowhere
}

// firstAdminEmail is the admin of a fresh development database.
const firstAdminEmail = "admin@example.com"

// firstAdmin makes an admin in a database that has none. It returns nil if
// there is one, or if another replica was faster.
func firstAdmin(ctx context.Context, d *db.DB, c *clock.Clock, passwords *password.Service) (*Admin, error) {
	if there, err := user.AnyAdmin(ctx, d.Read()); err != nil || there {
		return nil, err
	}
	admin := &Admin{Email: firstAdminEmail, Password: passwords.Generate()}
	hash, err := passwords.New(ctx, "password", admin.Password)
	if err != nil {
		return nil, err
	}
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: admin.Email, Role: user.RoleAdmin, Active: true, EmailVerified: true}
	created := false
	err = d.Write(ctx, func(tx *db.Tx) error {
		now := c.Now()
		if created, err = user.Create(ctx, tx, now, u); err != nil || !created {
			return err
		}
		if err := password.Save(ctx, tx, now, u.ID, hash); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, audit.Event{
			Type: audit.UserCreated, ActorType: "system", TargetType: "user", Target: u.ID, Metadata: map[string]any{"provider": password.Provider},
		})
	})
	if err != nil || !created {
		return nil, err
	}
	return admin, nil
}
