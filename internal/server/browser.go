package server

import (
	"slices"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// browserOf is what the settings say of sessions in cookies.
func browserOf(cfg *config.Config) web.Browser {
	b := cfg.BrowserSessions
	browser := web.Browser{
		Enabled: b.Enabled, Infer: b.InferCookieTransport, TransportHeader: b.TransportHeaderName, CSRFHeader: b.CSRFHeaderName,
		Access:  web.Cookie{Name: b.AccessCookieName, Path: b.AccessCookiePath},
		Refresh: web.Cookie{Name: b.RefreshCookieName, Path: b.RefreshCookiePath},
		CSRF:    web.Cookie{Name: b.CSRFCookieName, Path: b.CSRFCookiePath},
		Domain:  b.CookieDomain, SameSite: b.SameSite, Secure: b.SecureOnly,
	}
	pages := slices.Concat([]string{cfg.Email.PublicBaseURL}, cfg.OAuth.RedirectURIAllowlist, b.AllowedOrigins)
	for _, page := range pages {
		browser.Origins = append(browser.Origins, web.PageOrigin(page))
	}
	return browser
}
