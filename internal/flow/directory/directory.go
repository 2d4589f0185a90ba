// Package directory is what operators do with people's accounts: look them up,
// make them, close, open, delete them. The API and the command line act by it.
//
//	directory.go  look up
//	act.go        change
package directory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/password"
)

// Service looks accounts up and changes them.
type Service struct {
	DB        *db.DB
	Clock     *clock.Clock
	Accounts  *user.Accounts
	Sessions  *session.Service
	Passwords *password.Service
	Risk      *risk.Service

	// Keys revokes the API keys of an account; nil where there are none.
	Keys func(ctx context.Context, tx *db.Tx, now time.Time, userID uuid.UUID) (revoked int, err error)
	// Invite mails a link to choose a password.
	Invite func(ctx context.Context, tx *db.Tx, email string) error
}

// Row is an account in a list.
type Row struct {
	user.Row
	LockedFor time.Duration // until somebody may guess again; 0: not locked
}

// Detail is an account with what takes more to find out.
type Detail struct {
	Row
	ActiveSessions int
	PasswordSet    bool
}

// Filter is which accounts a list shows.
type Filter struct {
	Role, Email    string // a role; a part of the address
	Locked, Active *bool
}

// List returns accounts, the newest first; after is the cursor of the page
// before. Fault: invalid_cursor.
func (s *Service) List(ctx context.Context, f Filter, after string, limit int) (page cursor.Page[Row], err error) {
	defer fault.Wrap(&err, "directory.List")
	search := user.Search{Role: strings.TrimSpace(f.Role), Email: user.Fold(f.Email), Active: f.Active}
	query := []string{"users", search.Role, search.Email, text(f.Locked), text(f.Active)}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	var list []Row
	if f.Locked != nil && *f.Locked {
		list, err = s.locked(ctx, search, from, limit+1)
	} else {
		list, err = s.below(ctx, search, from, f.Locked != nil, limit+1)
	}
	place := func(r Row) cursor.Place { return cursor.Place{At: r.Created, ID: r.ID} }
	return cursor.Cut(list, limit, place, query...), err
}

func text(b *bool) string {
	switch {
	case b == nil:
		return "any"
	case *b:
		return "yes"
	}
	return "no"
}

// locked starts from the locks: they are few.
func (s *Service) locked(ctx context.Context, search user.Search, from cursor.Place, limit int) (list []Row, err error) {
	now := s.Clock.Now()
	until, err := s.Risk.Locked(ctx, s.DB.Read(), now)
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(slices.Collect(maps.Keys(until)), idsAtOnce) {
		rows, err := user.ReadAll(ctx, s.DB.Read(), some)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if search.Matches(r.User) && beneath(r, from) {
				list = append(list, Row{r, until[r.ID].Sub(now)})
			}
		}
	}
	slices.SortFunc(list, func(a, b Row) int { return newestFirst(a.Row, b.Row) })
	return list[:min(limit, len(list))], nil
}

// idsAtOnce bounds what one statement looks up.
const idsAtOnce = 200

func newestFirst(a, b user.Row) int {
	if c := b.Created.Compare(a.Created); c != 0 {
		return c
	}
	return bytes.Compare(b.ID[:], a.ID[:])
}

// beneath reports whether an account comes after a place in the list.
func beneath(r user.Row, from cursor.Place) bool {
	return newestFirst(user.Row{User: user.User{ID: from.ID}, Created: from.At}, r) < 0
}

// below reads on until the page is full, where those that are locked are left
// out of it.
func (s *Service) below(ctx context.Context, search user.Search, from cursor.Place, free bool, limit int) (list []Row, err error) {
	now := s.Clock.Now()
	for {
		rows, err := search.Find(ctx, s.DB.Read(), from, limit)
		if err != nil {
			return nil, err
		}
		ids := make([]uuid.UUID, len(rows))
		for i, r := range rows {
			ids[i] = r.ID
		}
		until, err := s.Risk.LockedOf(ctx, s.DB.Read(), now, ids)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			row := Row{Row: r}
			if at, ok := until[r.ID]; ok {
				row.LockedFor = at.Sub(now)
			}
			if !free || row.LockedFor == 0 {
				list = append(list, row)
			}
		}
		if len(rows) < limit || len(list) >= limit {
			return list[:min(limit, len(list))], nil
		}
		last := rows[len(rows)-1]
		from = cursor.Place{At: last.Created, ID: last.ID}
	}
}

// Show returns a live account. Fault: invalid_user.
func (s *Service) Show(ctx context.Context, id uuid.UUID) (d Detail, err error) {
	defer fault.Wrap(&err, "directory.Show")
	r, found, err := user.Read(ctx, s.DB.Read(), id)
	if err != nil {
		return d, err
	}
	if !found {
		return d, fault.New(fault.InvalidUser)
	}
	now := s.Clock.Now()
	until, err := s.Risk.LockedOf(ctx, s.DB.Read(), now, []uuid.UUID{id})
	if err != nil {
		return d, err
	}
	d.Row = Row{Row: r}
	if at, ok := until[id]; ok {
		d.LockedFor = at.Sub(now)
	}
	if d.ActiveSessions, err = s.Sessions.CountActive(ctx, id); err != nil {
		return d, err
	}
	hash, err := password.HashOf(ctx, s.DB.Read(), id)
	d.PasswordSet = hash != ""
	return d, err
}

// Named finds a live account by its id or its address. Faults: invalid_user,
// validation_error.
func (s *Service) Named(ctx context.Context, name string) (id uuid.UUID, err error) {
	defer fault.Wrap(&err, "directory.Named")
	if id, err := uuid.Parse(name); err == nil {
		return id, nil
	}
	email, err := user.ParseEmail("user", name)
	if err != nil {
		return uuid.Nil, fault.Invalid("user", "must be an id or an e-mail address")
	}
	u, found, err := user.ByEmail(ctx, s.DB.Read(), email)
	if err == nil && !found {
		return uuid.Nil, fault.New(fault.InvalidUser)
	}
	return u.ID, err
}
