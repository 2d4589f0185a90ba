// Package userimport takes over the accounts of another system, with their
// password hashes.
//
// An import may be run again: an account that is there is left as it is.
package userimport

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Provider is the name of imports in events.
const Provider = "import"

// Service imports accounts.
type Service struct {
	DB    *db.DB
	Clock *clock.Clock
	// Beside tells that a server uses the same SQLite file, which has one
	// writer: the import then rests between its transactions.
	Beside bool
}

// Refusal is a line that was not imported. Reason follows "line 7: " and never
// repeats what is in the line.
type Refusal struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// Counts is what became of the lines.
type Counts struct {
	Imported     int `json:"imported"`
	AlreadyThere int `json:"already_there"`
	Refused      int `json:"refused"`
}

// Lines is how many there were.
func (c Counts) Lines() int { return c.Imported + c.AlreadyThere + c.Refused }

// batchSize is how many lines share a transaction: enough that its end costs
// little, few enough that a sign-in waits for no longer than it takes.
const batchSize = 500

// Import reads accounts and adds those that are not there, in transactions of
// batchSize lines. It tells refused of each line that it cannot take, in their
// order. Counts are of what is done, also beside an error; then a second run
// does the rest. A dry run counts the same and changes nothing.
func (s *Service) Import(ctx context.Context, file io.Reader, form Form, dry bool, refused func(Refusal)) (total Counts, err error) {
	in, err := open(file, form)
	if err != nil {
		return total, err
	}
	act := s.write
	if dry {
		act = (&rehearsal{Service: s}).look
	}
	for more := true; more; {
		var b batch
		if more, err = in.fill(&b); err != nil {
			return total, err
		}
		began := time.Now()
		done, err := act(ctx, b.rows)
		if err != nil {
			return total, err
		}
		list := append(b.refusals, done.refusals...)
		slices.SortFunc(list, func(x, y Refusal) int { return x.Line - y.Line })
		for _, r := range list {
			refused(r)
		}
		total.Imported += done.imported
		total.AlreadyThere += done.there
		total.Refused += len(list)
		if s.Beside && more && !dry {
			if err := rest(ctx, time.Since(began)); err != nil {
				return total, err
			}
		}
	}
	return total, nil
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// batch is some lines of the file.
type batch struct {
	rows     []row
	refusals []Refusal
}

// outcome is what became of the rows of a batch.
type outcome struct {
	imported, there int
	refusals        []Refusal
}

func (o *outcome) refuse(r row, reason string) {
	o.refusals = append(o.refusals, Refusal{r.line, reason})
}

// writeTries bounds how often a batch is tried that meets a sign-up or another
// import.
const writeTries = 3

// eventsAtOnce is how many events one statement writes: the time that SQLite
// takes for a statement grows with the square of its parameters.
const eventsAtOnce = 20

// write adds the rows of a batch in one transaction.
func (s *Service) write(ctx context.Context, rows []row) (o outcome, err error) {
	if len(rows) == 0 {
		return o, nil
	}
	for try := 1; ; try++ {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			o = outcome{}
			now := s.Clock.Now()
			var events []audit.Event
			for _, r := range rows {
				created, err := r.put(ctx, tx, now, &o)
				if err != nil {
					return fmt.Errorf("line %d: %w", r.line, err)
				}
				if created {
					events = append(events, audit.Event{
						Type: audit.UserCreated, ActorType: "system", TargetType: "user", Target: r.user.ID, Metadata: map[string]any{"provider": Provider},
					})
				}
			}
			for some := range slices.Chunk(events, eventsAtOnce) {
				if err := audit.Record(ctx, tx, now, some...); err != nil {
					return err
				}
			}
			return nil
		})
		if !db.IsConflict(err) || try == writeTries { // an id that came meanwhile is found the next time
			return o, err
		}
	}
}

// put adds one account, unless something is in its way.
func (r row) put(ctx context.Context, tx *db.Tx, now time.Time, o *outcome) (created bool, err error) {
	met, err := find(ctx, tx, r.user.ID, r.user.Email)
	if err != nil {
		return false, err
	}
	if len(met) == 0 {
		if created, err = user.Create(ctx, tx, now, r.user); err != nil {
			return false, err
		}
		if created {
			o.imported++
			if r.hash == "" {
				return true, nil
			}
			return true, password.Save(ctx, tx, now, r.user.ID, r.hash)
		}
		if met, err = find(ctx, tx, r.user.ID, r.user.Email); err != nil { // somebody was faster
			return false, err
		}
	}
	r.judge(met, o)
	return false, nil
}

// account is what a row meets.
type account struct {
	id               uuid.UUID
	email, role      string
	verified, erased bool
}

// find returns the accounts with this id or this address, deleted ones too, the
// one with the id first.
func find(ctx context.Context, c db.Conn, id uuid.UUID, email string) (list []account, err error) {
	rows, err := c.QueryContext(ctx, `
		SELECT id, email_key, role, email_verified, deleted_at IS NOT NULL FROM users WHERE id = $1
		UNION ALL
		SELECT id, email_key, role, email_verified, deleted_at IS NOT NULL FROM users WHERE email_key = $2 AND id <> $3`, id, email, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a account
		if err := rows.Scan(&a.id, &a.email, &a.role, &a.verified, &a.erased); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// judge counts a row that was not added: it is there already, or what it met is
// somebody else's. Of an account without an id in the file only the address
// tells, so that who has signed up with it must not pass for the one imported.
func (r row) judge(met []account, o *outcome) {
	if len(met) == 0 {
		o.refuse(r, "email was another account's until lately, which may still take it back: import it in a few days")
		return
	}
	switch a := met[0]; {
	case a.id == r.user.ID && a.erased:
		o.refuse(r, "id belongs to an account that was deleted or erased")
	case a.erased:
		o.refuse(r, "email belongs to a deleted account: erase that one first")
	case a.id == r.user.ID && a.email != r.user.Email:
		o.refuse(r, "id belongs to an account with another address")
	case a.id == r.user.ID:
		o.there++
	case r.hasID:
		o.refuse(r, "email belongs to an account with another id")
	case a.role != r.user.Role:
		o.refuse(r, "email belongs to an account with another role")
	case r.user.EmailVerified && !a.verified:
		o.refuse(r, "email belongs to an account that has not confirmed it")
	default:
		o.there++
	}
}

// rehearsal is a dry run: it reads the database, and remembers what it would
// have added.
type rehearsal struct {
	*Service
	byID    map[uuid.UUID]account
	byEmail map[string]account
}

func (s *rehearsal) look(ctx context.Context, rows []row) (o outcome, err error) {
	if s.byID == nil {
		s.byID, s.byEmail = map[uuid.UUID]account{}, map[string]account{}
	}
	for _, r := range rows {
		met, err := find(ctx, s.DB.Read(), r.user.ID, r.user.Email)
		if err != nil {
			return o, err
		}
		kept, err := user.Kept(ctx, s.DB.Read(), s.Clock.Now(), r.user.Email, uuid.Nil)
		if err != nil {
			return o, err
		}
		if a, ok := s.byID[r.user.ID]; ok {
			met = append([]account{a}, met...)
		} else if a, ok := s.byEmail[r.user.Email]; ok {
			met = append(met, a)
		}
		if kept || len(met) > 0 {
			r.judge(met, &o)
			continue
		}
		a := account{id: r.user.ID, email: r.user.Email, role: r.user.Role, verified: r.user.EmailVerified}
		s.byID[a.id], s.byEmail[a.email] = a, a
		o.imported++
	}
	return o, nil
}
