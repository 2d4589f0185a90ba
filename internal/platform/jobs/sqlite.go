package jobs

import (
	"context"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

func sqliteBase(d *db.DB) *riversqlite.Driver { return riversqlite.New(d.Writer()) }

// sqliteDriver wakes workers from inside the process. River's own listener
// polls a table every 50 ms through the only writer connection.
type sqliteDriver struct {
	*riversqlite.Driver
	wake *listener
}

func (d *sqliteDriver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.wake
}

// listener is a riverdriver.Listener fed by signal.
type listener struct{ ch chan struct{} }

func newListener() *listener { return &listener{make(chan struct{}, 1)} }

func (l *listener) signal() {
	select {
	case l.ch <- struct{}{}:
	default: // one is pending already
	}
}

func (l *listener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	select {
	case <-l.ch:
		return &riverdriver.Notification{Topic: "river_insert", Payload: `{"queue":"default"}`}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) Close(context.Context) error            { return nil }
func (l *listener) Connect(context.Context) error          { return nil }
func (l *listener) Listen(context.Context, string) error   { return nil }
func (l *listener) Ping(context.Context) error             { return nil }
func (l *listener) Schema() string                         { return "" }
func (l *listener) SetAfterConnectExec(string)             {}
func (l *listener) Unlisten(context.Context, string) error { return nil }
