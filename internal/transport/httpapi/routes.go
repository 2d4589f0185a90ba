package httpapi

import "slices"

// Routes is everything the API can do.
func (a *API) Routes() []Route {
	routes := slices.Concat(
		signupAPI{a.Signup}.routes(),
		signinAPI{a.Signin}.routes(),
		sessionAPI{a.Sessions}.routes(),
		keyringAPI{a.Keys}.routes(),
		healthAPI{a.Ready}.routes(),
	)
	if a.Mailbox != nil {
		routes = append(routes, mailboxAPI{a.Mailbox}.routes()...)
	}
	return routes
}
