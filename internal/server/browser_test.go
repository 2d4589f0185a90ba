package server

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/transport/web"
)

func TestBrowserSettings(t *testing.T) {
	cfg, err := config.Load([]string{
		"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__INFER_COOKIE_TRANSPORT=false", "BROWSER_SESSIONS__TRANSPORT_HEADER_NAME=X-T",
		"BROWSER_SESSIONS__CSRF_HEADER_NAME=X-C", "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=a", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=r",
		"BROWSER_SESSIONS__CSRF_COOKIE_NAME=c", "BROWSER_SESSIONS__ACCESS_COOKIE_PATH=/a", "BROWSER_SESSIONS__REFRESH_COOKIE_PATH=/r",
		"BROWSER_SESSIONS__CSRF_COOKIE_PATH=/c", "BROWSER_SESSIONS__COOKIE_DOMAIN=example.com", "BROWSER_SESSIONS__SAME_SITE=strict",
		"BROWSER_SESSIONS__SECURE_ONLY=true", "EMAIL__PUBLIC_BASE_URL=https://Auth.example.com:443/prefix",
		`OAUTH__REDIRECT_URI_ALLOWLIST=["https://app.example.com/in"]`, `BROWSER_SESSIONS__ALLOWED_ORIGINS=["http://localhost:3000"]`,
	}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := web.Browser{
		Enabled: true, TransportHeader: "X-T", CSRFHeader: "X-C",
		Access: web.Cookie{Name: "a", Path: "/a"}, Refresh: web.Cookie{Name: "r", Path: "/r"}, CSRF: web.Cookie{Name: "c", Path: "/c"},
		Domain: "example.com", SameSite: "strict", Secure: true,
		Origins: []string{"https://auth.example.com", "https://app.example.com", "http://localhost:3000"},
	}
	if diff := cmp.Diff(want, browserOf(cfg)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
