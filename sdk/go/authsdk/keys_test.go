package authsdk

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// settle waits for a fetch in the background.
func settle(c *Client) {
	c.keys.mu.Lock()
	f := c.keys.flight
	c.keys.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

// verifyService verifies a token that needs keys but no session check.
func verifyService(c *Client, authd *fakeAuthd, changes fields) error {
	claims := serviceClaims().with(fields{"exp": epoch.Add(24 * time.Hour).Unix()}).with(changes)
	_, err := c.Verify(context.Background(), authd.mint(claims))
	return err
}

func TestKeysAreFetchedOncePerLifetime(t *testing.T) {
	for _, row := range []struct {
		name, cacheControl string
		lifetime           time.Duration
	}{
		{"five minutes without Cache-Control", "", 300 * time.Second},
		{"max-age if it is shorter", "public, Max-Age=60", 60 * time.Second},
		{"at most five minutes", "max-age=86400", 300 * time.Second},
		{"five minutes for a number nobody can hold", "max-age=99999999999999999999", 300 * time.Second},
		{"at least 30 seconds", "max-age=0", 30 * time.Second},
		{"five minutes for nonsense", "max-age=soon", 300 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd := newFakeAuthd(t)
			authd.cacheControl = row.cacheControl
			client := authd.client(t)
			steps := []struct {
				at      time.Duration
				fetches int
			}{
				{0, 1}, {0, 1}, {row.lifetime*4/5 - 1, 1},
				{row.lifetime * 4 / 5, 2},       // renewed in the background
				{row.lifetime*8/5 - 1, 2},       // counted from then
				{row.lifetime * 4, 3},           // long past: waited for
				{row.lifetime*4 + time.Hour, 4}, // and so on
			}
			for _, step := range steps {
				authd.clock.Advance(epoch.Add(step.at).Sub(authd.clock.Now()))
				check(t, verifyService(client, authd, nil), 0, "")
				settle(client)
				if got := authd.fetches(); got != step.fetches {
					t.Errorf("after %v: %d fetches, want %d", step.at, got, step.fetches)
				}
			}
		})
	}
}

func TestBadTokensCauseNoFetch(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t)
	check(t, verifyService(client, authd, nil), 0, "")
	for _, changes := range []fields{{"exp": 1}, {"aud": "x"}, {"type": "refresh"}, {"jti": nil}} {
		if verifyService(client, authd, changes) == nil {
			t.Errorf("%v was accepted", changes)
		}
	}
	client.Verify(context.Background(), "rubbish")
	client.Verify(context.Background(), sign(testKeys().rsa, `{"alg":"RS256","kid":"ec"}`, "{}"))
	if got := authd.fetches(); got != 1 {
		t.Errorf("%d fetches, want 1", got)
	}
}

func TestUnknownKeyIsFetchedOnceForFiftyRequests(t *testing.T) {
	authd, k := newFakeAuthd(t), testKeys()
	client := authd.client(t)
	check(t, verifyService(client, authd, nil), 0, "")
	token := sign(k.rsaOther, `{"alg":"RS256","kid":"new"}`, serviceClaims().String())
	fifty := func(status, fetches int) {
		t.Helper()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := client.Verify(context.Background(), token)
				check(t, err, status, "invalid_token")
			})
		}
		wg.Wait()
		if got := authd.fetches(); got != fetches {
			t.Errorf("%d fetches, want %d", got, fetches)
		}
	}
	fifty(401, 2) // asked once, and nobody knows the key
	authd.change(func() { authd.keys = append(authd.keys, rsaJWK("new", &k.rsaOther.PublicKey)) })
	fifty(401, 2) // cooling down
	authd.clock.Advance(coolDown)
	fifty(0, 3)
	fifty(0, 3)
}

// The same at the cache itself, with all fifty certainly waiting at once.
func TestForcedFetchesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches, release := 0, make(chan error)
		cache := &keyCache{now: time.Now, ctx: t.Context(), fetch: func(context.Context) (*keySet, error) {
			fetches++
			return &keySet{lifetime: maxLifetime}, <-release
		}}
		go func() { release <- nil }()
		seen, err := cache.current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			go func() {
				if set, err := cache.refresh(t.Context(), seen); err != nil || set == seen {
					t.Error("no newer set", err)
				}
			}()
		}
		impatient, cancel := context.WithCancel(t.Context())
		go func() {
			if _, err := cache.refresh(impatient, seen); !errors.Is(err, context.Canceled) {
				t.Error("waited beyond its context:", err)
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		release <- nil
		synctest.Wait()
		if set, err := cache.refresh(t.Context(), seen); err != nil || set == seen {
			t.Error("whoever comes late does not get the newer set", err)
		}
		if fetches != 2 {
			t.Errorf("%d fetches, want 2", fetches)
		}
	})
}

func TestReplacedKeyUnderOneNameTakesTwoFetches(t *testing.T) {
	authd, k := newFakeAuthd(t), testKeys()
	client := authd.client(t)
	check(t, verifyService(client, authd, nil), 0, "")
	authd.change(func() { authd.keys = []any{rsaJWK("rsa", &k.rsaOther.PublicKey)} })
	token := sign(k.rsaOther, rsHeader().String(), serviceClaims().String())
	_, err := client.Verify(context.Background(), token)
	check(t, err, 0, "")
	if got := authd.fetches(); got != 2 {
		t.Errorf("%d fetches, want 2", got)
	}
	check(t, verifyService(client, authd, nil), 401, "invalid_token") // the old key is gone
}

func TestKeysServeStaleWhileTheServiceIsDown(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t)
	check(t, verifyService(client, authd, nil), 0, "")
	authd.change(func() { authd.jwksStatus = 500 })
	authd.clock.Advance(maxLifetime)
	check(t, verifyService(client, authd, nil), 0, "")
	check(t, verifyService(client, authd, nil), 0, "")
	if got := authd.fetches(); got != 2 {
		t.Errorf("%d fetches within the pause after a failure, want 2", got)
	}
	authd.clock.Advance(staleLimit - 1)
	check(t, verifyService(client, authd, nil), 0, "")
	settle(client)
	authd.clock.Advance(1)
	check(t, verifyService(client, authd, nil), 503, "service_unavailable")

	authd.change(func() { authd.jwksStatus = 0 })
	check(t, verifyService(client, authd, nil), 503, "service_unavailable") // within the pause
	authd.clock.Advance(failurePause)
	check(t, verifyService(client, authd, nil), 0, "")
}

func TestWithdrawnKeysAreNotServedStale(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t)
	check(t, verifyService(client, authd, nil), 0, "")
	authd.change(func() { authd.keys = []any{} })
	authd.clock.Advance(maxLifetime)
	check(t, verifyService(client, authd, nil), 401, "invalid_token")
}

func TestTokensWhileTheServiceIsDown(t *testing.T) {
	k := testKeys()
	for _, row := range []struct {
		name   string
		warm   bool // keys were fetched before
		token  string
		status int
		code   string
	}{
		{"a good m2m token passes with keys", true, sign(k.rsa, rsHeader().String(), serviceClaims().String()), 0, ""},
		{"a good m2m token cannot be judged without", false, sign(k.rsa, rsHeader().String(), serviceClaims().String()), 503, "service_unavailable"},
		{"a good user token needs its session check", true, sign(k.rsa, rsHeader().String(), userClaims().String()), 503, "service_unavailable"},
		{"a forged token is bad", true, sign(k.rsaOther, rsHeader().String(), userClaims().String()), 401, "invalid_token"},
		{"an unknown key may be a new one", true, sign(k.rsaOther, `{"alg":"RS256","kid":"new"}`, userClaims().String()), 503, "service_unavailable"},
		{"a token for another service is bad, keys or not", false, sign(k.rsa, rsHeader().String(), userClaims().with(fields{"aud": "x"}).String()), 401, "invalid_token"},
		{"an expired token has expired, keys or not", false, sign(k.rsa, rsHeader().String(), userClaims().with(fields{"exp": 1}).String()), 401, "token_expired"},
		{"rubbish is bad, keys or not", false, "a.b.c", 401, "invalid_token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd := newFakeAuthd(t)
			client := authd.client(t)
			if row.warm {
				check(t, verifyService(client, authd, nil), 0, "")
			}
			authd.Close()
			for range 2 { // the second time within pause and cool-down
				_, err := client.Verify(context.Background(), row.token)
				check(t, err, row.status, row.code)
			}
		})
	}
}

func TestUnusableKeyAnswers(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		body   string
	}{
		{"a redirect is not followed", 302, ""},
		{"404 is a failure", 404, ""},
		{"HTML is a failure", 0, "<html>"},
		{"an answer without keys is a failure", 0, "{}"},
		{"keys in other case are a failure", 0, `{"Keys":[]}`},
		{"keys that are no list are a failure", 0, `{"keys":{}}`},
		{"more than a megabyte is a failure", 0, `{"keys":[]` + strings.Repeat(" ", maxBody) + "}"},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd := newFakeAuthd(t)
			authd.jwksStatus, authd.jwksBody = row.status, row.body
			check(t, verifyService(authd.client(t), authd, nil), 503, "service_unavailable")
			if got := authd.fetches(); got != 1 {
				t.Errorf("%d fetches, want 1", got)
			}
		})
	}
}

func TestWaitingForKeysEndsWithTheRequest(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	block := roundTripper(func(r *http.Request) (*http.Response, error) {
		asked <- true
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return nil, r.Context().Err()
	})
	authd := newFakeAuthd(t)
	client := authd.client(t, HTTPClient(&http.Client{Transport: block}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := client.Verify(ctx, authd.mint(serviceClaims()))
	check(t, err, 503, "service_unavailable")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap context.Canceled", err)
	}
	client.Close() // ends the fetch, which nobody released
	settle(client)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
