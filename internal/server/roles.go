package server

import (
	"errors"
	"fmt"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// roles are what a process does.
type roles struct {
	api    bool // answers requests
	worker bool // works jobs, sends webhooks, keeps the audit chain
}

// rolesOf reads the names of roles; none means every one. SQLite has one process.
func rolesOf(names []string, engine db.Engine) (r roles, err error) {
	if len(names) == 0 {
		return roles{api: true, worker: true}, nil
	}
	for _, name := range names {
		switch name {
		case "api":
			r.api = true
		case "worker":
			r.worker = true
		default:
			return r, fmt.Errorf("the roles of a process are api and worker, not %q", name)
		}
	}
	if engine == db.SQLite && r != (roles{api: true, worker: true}) {
		return r, errors.New("SQLite has one process: leave out --roles (and APP__ROLES), or use PostgreSQL")
	}
	return r, nil
}
