package httpapi

import "slices"

// Routes is everything the API can do.
func (a *API) Routes() []Route {
	routes := slices.Concat(
		signupAPI{a.Signup}.routes(),
		signinAPI{a.Signin}.routes(),
		otpAPI{a.Signin, a.Confirm, a.StepUp}.routes(),
		recoveryAPI{a.Recovery}.routes(),
		accountAPI{a.Account}.routes(),
		sessionAPI{a.Sessions}.routes(),
		csrfAPI{a.Sessions, a.Browser.Enabled}.routes(),
		erasureAPI{a.Erasure}.routes(),
		selfAPI{a.Sessions, a.History}.routes(),
		keyringAPI{a.Keys}.routes(),
		healthAPI{a.Ready}.routes(),
	)
	if a.Mailbox != nil {
		routes = append(routes, mailboxAPI{a.Mailbox}.routes()...)
	}
	return routes
}
