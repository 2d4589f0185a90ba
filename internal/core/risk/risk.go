// Package risk makes guessing slow and strange sign-ins visible, for passwords
// and mailed codes alike.
//
//	lockout.go  failures by account and network; the ladder of waits
//	seen.go     the networks and devices that an account was used from
//	network.go  what counts as one network, and as one device
//
// Failures are counted by account and network, so that a stranger elsewhere
// locks nobody out. What comes from networks that the account was not used from
// in the last 30 days is counted together, too: many networks help little.
// Addresses without an account are counted alike.
package risk

import (
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Service counts and remembers.
type Service struct {
	DB    *db.DB
	Clock *clock.Clock
	Ring  *secret.Ring // hides the addresses whose failures are counted
}
