package authsdk

import (
	"slices"
	"strings"
	"time"
)

// rules is what the claims of an acceptable token must satisfy, beyond the fixed.
type rules struct {
	allOf, anyOf []string
	issuer       string // empty: not checked
	leeway       time.Duration
}

// identify checks the claims (RFC 7519 section 4.1 and the server's own) and
// returns whom they describe. That a token has expired is said only of one that
// is good otherwise: the caller may then refresh it, which cures nothing else.
func (r rules) identify(claims object, now time.Time) (Identity, error) {
	audience, hasExpired, err := r.check(claims, now)
	if err != nil {
		return Identity{}, err
	}
	id, err := readIdentity(claims)
	if err != nil {
		return Identity{}, err
	}
	if hasExpired {
		return Identity{}, expired()
	}
	id.Audience = audience
	return id, nil
}

// check is for the claims of every token, whatever its type.
func (r rules) check(claims object, now time.Time) (audience []string, hasExpired bool, err error) {
	for _, name := range []string{"jti", "sub"} {
		if s, ok := claims.str(name); !ok || s == "" {
			return nil, false, invalid(reason(name + " is missing"))
		}
	}
	hasExpired, err = r.checkTimes(claims, now)
	if err != nil {
		return nil, false, err
	}
	audience, err = r.checkParties(claims)
	return audience, hasExpired, err
}

// checkTimes compares whole seconds. Floats cover every number a token may hold:
// what is beyond their precision is beyond the calendar too.
func (r rules) checkTimes(claims object, at time.Time) (hasExpired bool, err error) {
	now, leeway := float64(at.Unix()), r.leeway.Seconds()
	exp, ok := claims.number("exp")
	if !ok || exp == 0 {
		return false, invalid("exp is missing")
	}
	iat, ok := claims.number("iat")
	if !ok || iat == 0 {
		return false, invalid("iat is missing")
	}
	if iat > now+leeway {
		return false, invalid("iat is in the future")
	}
	if claims.has("nbf") {
		if nbf, ok := claims.number("nbf"); !ok || nbf > now+leeway {
			return false, invalid("nbf is in the future")
		}
	}
	return now > exp+leeway, nil
}

func (r rules) checkParties(claims object) (audience []string, err error) {
	audience, ok := claims.strings("aud")
	if !ok {
		return nil, invalid("aud is missing")
	}
	has := func(name string) bool { return slices.Contains(audience, name) }
	lacks := func(name string) bool { return !has(name) }
	if slices.ContainsFunc(r.allOf, lacks) || len(r.anyOf) > 0 && !slices.ContainsFunc(r.anyOf, has) {
		return nil, invalid("aud does not name this service")
	}
	if iss, _ := claims.str("iss"); r.issuer != "" && iss != r.issuer {
		return nil, invalid("iss is another issuer")
	}
	return audience, nil
}

// readIdentity reads "type", which alone tells an access token from the others
// signed by the same keys (refresh, one-time code, action, e-mail verification).
func readIdentity(claims object) (Identity, error) {
	role, _ := claims.str("role")
	if role != "admin" && role != "user" && role != "service" {
		return Identity{}, invalid("role is missing or unknown")
	}
	switch kind, _ := claims.str("type"); kind {
	case "access":
		return readUser(claims, role)
	case "m2m":
		return readService(claims, role)
	}
	return Identity{}, invalid("type is neither access nor m2m")
}

func readUser(claims object, role string) (Identity, error) {
	id := Identity{Type: TypeUser, Role: role, Scopes: readScopes(claims.get("scopes"))}
	id.UserID, _ = claims.str("sub")
	var ok bool
	if id.Email, ok = claims.str("email"); !ok || strings.TrimSpace(id.Email) == "" {
		return Identity{}, invalid("email is missing")
	}
	if id.EmailVerified, ok = claims.boolean("email_verified"); !ok {
		return Identity{}, invalid("email_verified is missing")
	}
	if id.EmailOTPEnabled, ok = claims.boolean("email_otp_enabled"); !ok {
		return Identity{}, invalid("email_otp_enabled is missing")
	}
	authTime, ok := claims.integer("auth_time")
	if !ok {
		return Identity{}, invalid("auth_time is missing")
	}
	id.AuthTime = time.Unix(authTime, 0)
	if claims.has("sid") {
		if id.SessionID, ok = claims.str("sid"); !ok {
			return Identity{}, invalid("sid is not a string")
		}
	}
	return id, nil
}

func readService(claims object, role string) (Identity, error) {
	id := Identity{Type: TypeService, Role: role, Scopes: []string{}}
	id.ClientID, _ = claims.str("sub")
	if role != "service" {
		return Identity{}, invalid("role of an m2m token is not service")
	}
	if claims.has("scope") {
		scope, ok := claims.str("scope")
		if !ok {
			return Identity{}, invalid("scope is not a string")
		}
		id.Scopes = slices.DeleteFunc(strings.Split(scope, " "), func(s string) bool { return s == "" })
	}
	return id, nil
}

// readScopes is lenient, as the server's own reader: what is not a list is none,
// an entry that is not a string becomes its JSON text.
func readScopes(raw string) []string {
	list, _ := elements(raw)
	scopes := make([]string, len(list))
	for i, element := range list {
		s, ok := unquote(element)
		if !ok {
			s = element
		}
		scopes[i] = s
	}
	return scopes
}
