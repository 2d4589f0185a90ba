// Package webhook tells other services what happened: endpoints that operators
// register, and the deliveries to them.
//
// The deliveries table is the queue. FanOut writes rows in the transaction that
// takes events into the audit chain; workers claim them with a lease, send
// outside any transaction, and write the result only if the lease is still
// theirs. So a delivery is sent at least once, and two living workers never work
// one attempt at the same time.
//
//	endpoint.go  what operators do with endpoints
//	delivery.go  what they do with deliveries
//	guard.go     which addresses may be called
//	sign.go      the bytes that are sent, and their signatures
//	fanout.go    an event becomes deliveries
//	claim.go     a worker takes deliveries
//	send.go      one attempt
//	result.go    what follows from it: retries, breaker, disabling
package webhook

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Service keeps endpoints and sends deliveries.
type Service struct {
	DB      *db.DB
	Clock   *clock.Clock
	Log     *slog.Logger
	Metrics *metric.Metrics
	Seal    *secret.Ring // of the secrets in the database
	Guard   *Guard
	Client  *http.Client // made by NewClient

	Timeout   time.Duration // of one attempt, all in all
	BodyChars int           // how much of an answer is kept
}

// Endpoint is where deliveries go.
type Endpoint struct {
	ID           uuid.UUID
	Name         string
	URL          string
	Events       []string // sorted; none: every event but the explicit ones
	Active       bool
	DisabledWhy  string // DisabledByOperator or DisabledFailing; empty while active
	Failures     int64  // in a row
	FailingSince time.Time
	OldUntil     time.Time // until when the secret before signs too
	Created      time.Time
}

// Why an endpoint is not active.
const (
	DisabledByOperator = "operator"
	DisabledFailing    = "failing"
)

// Status is how far a delivery is.
type Status string

// The statuses.
const (
	Pending   Status = "pending"   // never tried since it was queued
	Delivered Status = "delivered" // the receiver answered 2xx
	Failed    Status = "failed"    // waits for its next attempt
	Abandoned Status = "abandoned" // given up
)

// Delivery is one event for one endpoint.
type Delivery struct {
	ID             uuid.UUID // webhook-id, and id in the body
	Endpoint       uuid.UUID
	Event          string
	Data           string    // a JSON object
	Occurred       time.Time // created_at in the body
	Status         Status
	Attempts       int64
	LastAttempted  time.Time
	NextRetry      time.Time
	ResponseStatus int64 // 0: no answer
	ResponseBody   string
	Created        time.Time
}
