package fault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

func TestTheCatalogueIsWhatClientsCanMatchOn(t *testing.T) {
	slug := regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, c := range fault.Catalogue {
		if !slug.MatchString(c.Slug) {
			t.Errorf("%q is not a slug", c.Slug)
		}
		if seen[c.Slug] {
			t.Errorf("%s is in the catalogue twice", c.Slug)
		}
		seen[c.Slug] = true
		if c.Status < 400 || c.Status > 599 || http.StatusText(c.Status) == "" {
			t.Errorf("%s has status %d", c.Slug, c.Status)
		}
		if c.Detail == "" {
			t.Errorf("%s says nothing to people", c.Slug)
		}
	}
	if len(seen) == 0 {
		t.Error("the catalogue is empty")
	}
}

func TestAFaultIsFoundHoweverItIsWrapped(t *testing.T) {
	cause := errors.New("disk on fire")
	expired := fault.New(fault.TokenExpired)
	rows := []struct {
		name string
		err  error
		want string // the code that From gives
		has  bool   // whether the error carries a fault at all
	}{
		{"a fault", expired, "token_expired", true},
		{"a fault with a cause", expired.Because(cause), "token_expired", true},
		{"a fault in context", fmt.Errorf("session.Check: %w", expired), "token_expired", true},
		{"a fault beside another error", errors.Join(cause, expired), "token_expired", true},
		{"the outer of two faults", fault.New(fault.InvalidToken).Because(expired), "invalid_token", true},
		{"any other error", cause, "internal_server_error", false},
		{"an error of the context", context.Canceled, "internal_server_error", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := fault.From(row.err)
			if got.Code.Slug != row.want {
				t.Errorf("From gives %s, want %s", got.Code.Slug, row.want)
			}
			if has := fault.Has(row.err, got.Code); has != row.has {
				t.Errorf("Has(%s) = %t, want %t", got.Code.Slug, has, row.has)
			}
			if is := errors.Is(row.err, fault.New(got.Code)); is != row.has {
				t.Errorf("errors.Is(%s) = %t, want %t", got.Code.Slug, is, row.has)
			}
			if fault.Has(row.err, fault.RateLimited) || errors.Is(row.err, fault.New(fault.RateLimited)) {
				t.Error("it is taken for rate_limited")
			}
		})
	}
	if fault.Has(nil, fault.TokenExpired) {
		t.Error("no error has a code")
	}
}

func TestTheCauseIsForTheLogOnly(t *testing.T) {
	cause := errors.New("pq: no such column")
	plain := fault.New(fault.ServiceUnavailable)
	caused := plain.Because(cause)
	if !errors.Is(caused, cause) || !errors.Is(fault.From(cause), cause) {
		t.Error("the cause is lost")
	}
	if errors.Unwrap(plain) != nil {
		t.Error("Because changed the fault it was called on")
	}
	if got, want := caused.Error(), "service_unavailable: pq: no such column"; got != want {
		t.Errorf("the log says %q, want %q", got, want)
	}
}

func TestWhatAFaultCarries(t *testing.T) {
	invalid := fault.Invalid("email", "must be an e-mail address")
	if diff := cmp.Diff([]fault.Field{{Field: "email", Message: "must be an e-mail address"}}, invalid.Fields); diff != "" {
		t.Error(diff)
	}
	if got, want := invalid.Error(), "validation_error (email: must be an e-mail address)"; got != want {
		t.Errorf("the log says %q, want %q", got, want)
	}
	wait := fault.Retry(fault.RateLimited, time.Minute).Because(errors.New("x"))
	if wait.RetryAfter != time.Minute || wait.Code.Slug != "rate_limited" {
		t.Errorf("%+v", wait)
	}
}

func TestWrapNamesTheActOfAnError(t *testing.T) {
	act := func(in error) (err error) {
		defer fault.Wrap(&err, "recovery.Reset")
		return in
	}
	if err := act(nil); err != nil {
		t.Errorf("Wrap made an error of none: %v", err)
	}
	err := act(fault.New(fault.InvalidToken))
	if !fault.Has(err, fault.InvalidToken) {
		t.Errorf("the fault is lost in %v", err)
	}
	if got, want := err.Error(), "recovery.Reset: invalid_token"; got != want {
		t.Errorf("the log says %q, want %q", got, want)
	}
}
