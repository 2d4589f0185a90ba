package httpapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/method/password"
)

// admin makes an admin and returns the access token of a new session, whose
// sign-in is fresh enough for every act that a recent sign-in lets through.
func (s *service) admin(t testing.TB, email string) (id uuid.UUID, access string) {
	t.Helper()
	id = s.account(t, email, user.RoleAdmin)
	access, _ = s.login(t, email)
	s.events(t)
	return id, access
}

// account makes a confirmed account at once, without a mail or an event.
func (s *service) account(t testing.TB, email, role string) uuid.UUID {
	t.Helper()
	ctx := context.Background()
	id := uuid.Must(uuid.NewV7())
	hash := must(s.Signin.Passwords.Hasher.Hash(ctx, good))(t)
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		now := s.clock.Now()
		made, err := user.Create(ctx, tx, now, user.User{ID: id, Email: email, Role: role, Active: true, EmailVerified: true})
		if err != nil || !made {
			t.Fatal(made, err)
		}
		return password.Save(ctx, tx, now, id, hash)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// stale ends the time in which a sign-in counts as a fresh proof.
func (s *service) stale() { s.clock.Advance(6 * time.Minute) }
