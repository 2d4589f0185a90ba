package authsdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ActionOption refines [Client.RequireActionToken].
type ActionOption func(*actionRule)

type actionRule struct {
	action   string
	target   func(*http.Request) string // nil: the act has none
	reusable bool
}

// ActionTarget binds the act to a thing: the user's code must have been asked for
// this target, say the id of the payment that r would make. Without it, tokens
// for a target are refused.
func ActionTarget(target func(r *http.Request) string) ActionOption {
	return func(a *actionRule) { a.target = target }
}

// ActionReusable leaves the token unspent, so that it may be used again until it
// expires. It saves a call to the auth service; use it for what may be repeated
// without harm.
func ActionReusable() ActionOption {
	return func(a *actionRule) { a.reusable = true }
}

// RequireActionToken lets users through who have just confirmed this very act
// with a one-time code: the header X-Action-Token holds the token they got for it
// at the auth service, and it is spent before next runs. Others get 403:
// otp_required, with X-OTP-Required: true and X-OTP-Action, if there is none;
// action_token_invalid if it is for somebody or something else, expired or spent.
//
// A service's own actions are named "<audience>:<act>", say "orders-api:refund".
// It authenticates by itself, so it needs no guard around it. It panics on an
// action that nobody could confirm: one without a colon that is not the auth
// service's own, or one of another audience than the client's.
func (c *Client) RequireActionToken(action string, opts ...ActionOption) func(http.Handler) http.Handler {
	rule := actionRule{action: strings.TrimSpace(action)}
	if !c.confirmable(rule.action) {
		panic(fmt.Sprintf("authsdk: RequireActionToken: nobody can confirm %q: name it %s:<act>", rule.action, c.audience()))
	}
	for _, opt := range opts {
		opt(&rule)
	}
	check := func(r *http.Request, e established) *Error { return c.checkAction(r, e, rule) }
	return func(next http.Handler) http.Handler { return c.guard(TypeUser, check, next) }
}

// ownActions are acts of the auth service, whose confirmations name the caller's
// audiences, too.
var ownActions = []string{
	"role_change", "delete_user", "revoke_sessions", "rotate_signing_key", "erase_account", "admin_erase_user", "enable_otp", "disable_otp",
	"change_password", "change_email", "manage_users", "manage_otp", "manage_api_keys", "manage_clients", "manage_webhooks", "manage_providers",
	"revoke_signing_key", "export_audit",
}

// confirmable reports whether the auth service mails codes for an action whose
// tokens this client accepts.
func (c *Client) confirmable(action string) bool {
	audience, act, service := strings.Cut(action, ":")
	if !service {
		return slices.Contains(ownActions, action)
	}
	return act != "" && (slices.Contains(c.rules.allOf, audience) || slices.Contains(c.rules.anyOf, audience))
}

// audience is one that the client accepts, for messages.
func (c *Client) audience() string { return append(slices.Clone(c.rules.allOf), c.rules.anyOf...)[0] }

func (c *Client) checkAction(r *http.Request, e established, rule actionRule) *Error {
	raw := strings.TrimSpace(r.Header.Get("X-Action-Token"))
	if raw == "" {
		refusal := forbidden("otp_required", "Action token required")
		refusal.action = rule.action
		return refusal
	}
	claims, err := c.verifyAction(r.Context(), raw)
	if err != nil {
		return err
	}
	target := ""
	if rule.target != nil {
		target = rule.target(r)
	}
	if err := rule.fits(claims, e.id, target); err != nil {
		return err
	}
	if rule.reusable {
		return nil
	}
	return c.spend(r, e.token, raw, rule.action, target)
}

// verifyAction takes an action token as far as its claims, which say for whom and
// what it is.
func (c *Client) verifyAction(ctx context.Context, raw string) (object, *Error) {
	claims, hasExpired, err := c.verifyClaims(ctx, raw)
	if err != nil {
		if refusal := asError(err); refusal.Status == http.StatusServiceUnavailable {
			return nil, actionUnavailable(refusal)
		}
		return nil, invalidAction("Invalid action token", err)
	}
	if kind, _ := claims.str("type"); kind != "action_token" {
		return nil, invalidAction("Invalid action token", reason("type is not action_token"))
	}
	if hasExpired {
		return nil, invalidAction("Invalid action token", reason("exp has passed"))
	}
	return claims, nil
}

// fits compares a token with the act. A session is compared if both name one:
// older servers do not.
func (a actionRule) fits(claims object, id Identity, target string) *Error {
	if action, _ := claims.str("action"); action != a.action {
		return invalidAction("Action mismatch", reason("the token is for another action"))
	}
	if sub, _ := claims.str("sub"); sub != id.UserID {
		return invalidAction("Token user mismatch", reason("the token is another user's"))
	}
	if sid, ok := claims.str("sid"); claims.has("sid") && id.SessionID != "" && (!ok || sid != id.SessionID) {
		return invalidAction("Invalid action token", reason("the token is of another session"))
	}
	if got, ok := claims.str("target"); got != target || claims.has("target") && !ok {
		return invalidAction("Invalid action token", reason("the token is for another target"))
	}
	return nil
}

// spend has the auth service mark the token as used, which works once. The call
// is not repeated, whatever happens: a second try could find our own first one.
func (c *Client) spend(r *http.Request, bearer, raw, action, target string) *Error {
	body, _ := json.Marshal(struct { // strings always encode
		Token  string `json:"action_token"`
		Action string `json:"action"`
		Target string `json:"target,omitempty"`
	}{raw, action, target})
	answer, err := c.call(r.Context(), http.MethodPost, "/auth/otp/consume/action", bearerHeader(bearer, correlationID(r)), body)
	if err != nil {
		return actionUnavailable(unavailable(err))
	}
	switch answer.status {
	case http.StatusNoContent:
		return nil
	case http.StatusForbidden: // but not that of a proxy in between, which says nothing about the token
		if _, err := parseObject(answer.body); err == nil {
			return invalidAction("Invalid action token", reason("the auth service does not accept it: spent, or its session has ended"))
		}
	}
	refusal := unavailable(errors.New("spending an action token: status " + strconv.Itoa(answer.status)))
	if answer.status == http.StatusTooManyRequests {
		refusal.RetryAfter = retryAfter(answer.header.Get("Retry-After"))
	}
	return actionUnavailable(refusal)
}

func invalidAction(detail string, cause error) *Error {
	e := forbidden("action_token_invalid", detail)
	e.cause = cause
	return e
}

// actionUnavailable words an outage as this guard does in every SDK.
func actionUnavailable(e *Error) *Error {
	e.Detail = "Auth service unavailable"
	return e
}
