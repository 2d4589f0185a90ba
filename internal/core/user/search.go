package user

import (
	"context"
	"math"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Search is which accounts a list shows. Deleted ones are never among them.
type Search struct {
	Role   string // empty: any
	Email  string // a part of the address, folded; empty: any
	Active *bool  // nil: both
}

// Matches reports whether an account is what is looked for.
func (s Search) Matches(u User) bool {
	return (s.Role == "" || u.Role == s.Role) && strings.Contains(u.Email, s.Email) && (s.Active == nil || u.Active == *s.Active)
}

// Fold brings a part of an address into the form that addresses are stored in.
func Fold(part string) string { return strings.ToLower(strings.TrimSpace(part)) }

// Lists begin at an index on (created_at, id) and stop at their limit. A part of
// an address is looked for twice: among the newest accounts, where what many
// have is found at once, and only if that does not fill the page among all of
// them, by the index over parts that PostgreSQL has, which finds what few have.
// OFFSET 0 keeps the planner from walking through all accounts in order instead.
const (
	searchBelow  = ` WHERE u.deleted_at IS NULL AND (u.created_at, u.id) < ($1, $2)`
	searchActive = ` AND ($4 OR u.is_active = $5)`
	searchNewest = ` ORDER BY u.created_at DESC, u.id DESC LIMIT $3`
	searchPart   = ` AND u.email_key LIKE $6 ESCAPE '!' AND ($7 = '' OR u.role = $7)`

	searchAll  = `SELECT ` + rowColumns + ` FROM users u` + searchBelow + searchActive + searchNewest
	searchRole = `SELECT ` + rowColumns + ` FROM users u` + searchBelow + searchActive + ` AND u.role = $6` + searchNewest

	searchNear = `SELECT ` + rowColumns + ` FROM (
		SELECT * FROM users u` + searchBelow + ` ORDER BY u.created_at DESC, u.id DESC LIMIT 2000) u
		WHERE ($4 OR u.is_active = $5)` + searchPart + searchNewest
	searchFar = `SELECT ` + rowColumns + ` FROM (
		SELECT * FROM users u` + searchBelow + searchActive + searchPart + ` LIMIT $8 OFFSET 0) u` + searchNewest
)

// Find returns the accounts below a place, the newest first.
func (s Search) Find(ctx context.Context, c db.Conn, below cursor.Place, limit int) (list []Row, err error) {
	defer fault.Wrap(&err, "user.Search")
	active := s.Active != nil && *s.Active
	args := []any{below.At, below.ID, limit, s.Active == nil, active}
	switch {
	case s.Email != "":
		args = append(args, like(s.Email), s.Role)
		list, err = readRows(c.QueryContext(ctx, searchNear, args...))
		if err != nil || len(list) == limit {
			return list, err
		}
		return readRows(c.QueryContext(ctx, searchFar, append(args, int64(math.MaxInt64))...))
	case s.Role != "":
		return readRows(c.QueryContext(ctx, searchRole, append(args, s.Role)...))
	}
	return readRows(c.QueryContext(ctx, searchAll, args...))
}

// like is the pattern for what contains a text.
func like(part string) string { return "%" + Escape(part) + "%" }

// Escape takes the meaning from the wildcards of LIKE … ESCAPE '!'.
func Escape(text string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(text)
}
