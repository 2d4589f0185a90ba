package session

import (
	"context"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// CSRF is the CSRF token that came with a refresh token in a cookie. The zero
// value is a refresh token that came otherwise.
type CSRF struct {
	Cookie bool
	Token  string
}

// check reports invalid_csrf_token unless the token is the session's.
func (c CSRF) check(sess Session) error {
	if c.Cookie && !sess.Bound(c.Token) {
		return fault.New(fault.InvalidCSRFToken)
	}
	return nil
}

// Bound reports whether a CSRF token is the session's.
func (s Session) Bound(csrf string) bool { return boundTo(s.CSRFHash, csrf) }

// Bound reports whether a CSRF token is that of the caller's session. What the
// cache knows may be older than a token that another replica handed out, so a
// mismatch is looked up.
func (s *Service) Bound(ctx context.Context, id Identity, csrf string) (bool, error) {
	if csrf == "" || boundTo(id.CSRFHash, csrf) {
		return csrf != "", nil
	}
	sess, _, found, err := load(ctx, s.db.Read(), id.Session)
	if err != nil || !found || !sess.Bound(csrf) {
		return false, err
	}
	s.cache.Invalidate(id.Session)
	return true, nil
}

func boundTo(hash, csrf string) bool {
	return hash != "" && csrf != "" && secret.Equal([]byte(hash), []byte(secret.Hash(csrf)))
}

func hashOf(csrf string) string {
	if csrf == "" {
		return ""
	}
	return secret.Hash(csrf)
}

// BindCSRF returns the CSRF token that a browser should use: the presented one
// if it is that of the session of the refresh token, else a fresh one, to which
// the session is bound from now on. Without a live session the token is bound to
// none: the next sign-in binds it.
func (s *Service) BindCSRF(ctx context.Context, refresh, presented string, fresh func() string) (token string, err error) {
	defer fault.Wrap(&err, "session.BindCSRF")
	token = fresh()
	t, ok := decodeRefresh(s.refresh, refresh)
	if !ok {
		return token, nil
	}
	sess, u, found, err := load(ctx, s.db.Read(), t.session)
	if err != nil {
		return "", err
	}
	now := s.clock.Now()
	if !found || !sess.RevokedAt.IsZero() || !sess.Expires.After(now) || !u.Active {
		return token, nil
	}
	if sess.Bound(presented) {
		return presented, nil
	}
	if what, _ := decide(sess.rotation, t, now, s.settings.ReuseGrace); what == theft { // an old copy binds nothing
		return token, nil
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error { return bind(ctx, tx, sess.ID, secret.Hash(token)) })
	s.cache.Invalidate(sess.ID) // of this process; the others learn within cacheFor
	return token, err
}
