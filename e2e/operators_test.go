package e2e

import (
	"regexp"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

var firstAdminLine = regexp.MustCompile(`Admin +(\S+), password (\S+) \(shown only this once\)`)

// admin signs in the admin that the first start on this database made, as its
// output says.
func (v *server) admin() *authapi.Operator {
	v.t.Helper()
	var m []string
	await(v.t, patience, "the output names the first admin, which this server made", func() bool {
		m = firstAdminLine.FindStringSubmatch(v.logs.String() + v.program.Output())
		return m != nil
	})
	return v.operator(m[1], m[2])
}

// operator signs an admin in.
func (v *server) operator(email, password string) *authapi.Operator {
	v.t.Helper()
	o, err := v.Operator(v.t.Context(), email, password)
	if err != nil {
		v.t.Fatal(err)
	}
	return o
}

// colleague is one more admin, who was promoted before the sign-in.
func (v *server) colleague() *authapi.Operator {
	v.t.Helper()
	email := v.account()
	v.change(v.t, `UPDATE users SET role = 'admin' WHERE email = $1`, email)
	return v.operator(email, password)
}

// idOf is the id of the account with this address.
func (s *store) idOf(t *testing.T, email string) (id string) {
	t.Helper()
	if err := s.sql(t).QueryRow(`SELECT CAST(id AS TEXT) FROM users WHERE email = $1`, email).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// obj is a JSON object.
type obj = map[string]any
