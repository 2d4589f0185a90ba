package httpapi

import "slices"

// Routes is everything the API can do.
func (a *API) Routes() []Route {
	if a.HealthOnly {
		return healthAPI{a.Ready}.routes()
	}
	routes := slices.Concat(
		signupAPI{a.Signup}.routes(),
		signinAPI{a.Signin}.routes(),
		otpAPI{a.Signin, a.Confirm, a.StepUp}.routes(),
		recoveryAPI{a.Recovery}.routes(),
		accountAPI{a.Account}.routes(),
		sessionAPI{a.Sessions, grantAPI{a.Log, a.Machines}.token}.routes(),
		clientsAPI{a.Clients}.routes(),
		apikeysAPI{a.APIKeys, a.Machines}.routes(),
		introspectAPI{a.Machines, a.RequireCaller}.routes(),
		csrfAPI{a.Sessions, a.Browser.Enabled}.routes(),
		erasureAPI{a.Erasure}.routes(),
		selfAPI{a.Sessions, a.History}.routes(),
		adminUsersAPI{a.Users, a.Erasure}.routes(),
		adminSessionsAPI{a.Users, a.Sessions, a.Audit}.routes(),
		auditAPI{a.Audit, a.Chain}.routes(),
		keyringAPI{a.Keys}.routes(),
		signingKeyAPI{a.Keys}.routes(),
		webhookAPI{a.Webhooks}.routes(),
		healthAPI{a.Ready}.routes(),
	)
	if a.Mailbox != nil {
		routes = append(routes, mailboxAPI{a.Mailbox}.routes()...)
	}
	return routes
}
