// Package browser drives a real Chromium without a window, as a user would: it
// opens pages, types, clicks and reads what is there.
package browser

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// Options of a browser.
type Options struct {
	Path  string            // of Chromium
	Host  string            // a name that means this machine, besides localhost
	Trust *x509.Certificate // of a server, although nobody vouches for it; may be nil
}

// patience is how long a page may take to do what it should do at once.
const patience = 20 * time.Second

// Tab is a tab of a browser. The tabs of one browser share its cookies.
type Tab struct {
	ctx   context.Context
	close context.CancelFunc
}

// Start starts a browser with an empty profile and one empty tab. Closing that
// tab ends the browser; it never outlives us.
func Start(ctx context.Context, o Options) (*Tab, error) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(o.Path),
		chromedp.NoSandbox, // which Chromium refuses to root
		chromedp.Flag("host-resolver-rules", "MAP "+o.Host+" 127.0.0.1"),
	)
	if o.Trust != nil {
		key := sha256.Sum256(o.Trust.RawSubjectPublicKeyInfo)
		opts = append(opts, chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])))
	}
	ctx, end := chromedp.NewExecAllocator(ctx, opts...)
	ctx, closeTab := chromedp.NewContext(ctx)
	t := &Tab{ctx, func() { closeTab(); end() }}
	if err := chromedp.Do(ctx); err != nil {
		t.close()
		return nil, fmt.Errorf("start %s: %w", o.Path, err)
	}
	return t, nil
}

// Another opens a further tab of the same browser.
func (t *Tab) Another() (*Tab, error) {
	ctx, closeTab := chromedp.NewContext(t.ctx)
	if err := chromedp.Do(ctx); err != nil {
		closeTab()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	return &Tab{ctx, closeTab}, nil
}

// Close closes the tab.
func (t *Tab) Close() { t.close() }

func (t *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Open goes to an address and waits until the page has loaded.
func (t *Tab) Open(url string) error { return t.do("open "+url, chromedp.Navigate(url)) }

// Reload does what the button does.
func (t *Tab) Reload() error { return t.do("reload", chromedp.Reload()) }

// Type types into the field that a CSS selector names, once it can be seen.
func (t *Tab) Type(field, text string) error {
	return t.do("type into "+field, chromedp.SendKeys(chromedp.CSS(field), text))
}

// Click clicks on what a CSS selector names, once it can be seen.
func (t *Tab) Click(what string) error {
	return t.do("click "+what, chromedp.Click(chromedp.CSS(what)))
}

// Run runs JavaScript in the page and waits for its promise. The answer is a text.
func (t *Tab) Run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string]("Promise.resolve("+script+").then(String)", chromedp.EvalAwaitPromise))
	if err != nil {
		return "", fmt.Errorf("run %s: %w", script, err)
	}
	return out, nil
}

// Await polls JavaScript until it says want.
func (t *Tab) Await(script, want string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		got, err := t.Run(script)
		switch {
		case err == nil && got == want:
			return nil
		case time.Now().Before(end):
		case err != nil:
			return err
		default:
			return fmt.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}

// Cookie is a cookie that the browser keeps.
type Cookie = network.Cookie

// Cookies are all that the browser keeps, by name.
func (t *Tab) Cookies() (map[string]*Cookie, error) {
	kept, err := chromedp.CallBrowser(t.ctx, storage.GetCookies, storage.GetCookiesParams{})
	if err != nil {
		return nil, fmt.Errorf("read the cookies: %w", err)
	}
	byName := map[string]*Cookie{}
	for _, c := range kept.Cookies {
		byName[c.Name] = c
	}
	return byName, nil
}

// Forget deletes a cookie, as if it had expired.
func (t *Tab) Forget(c *Cookie) error {
	_, err := chromedp.Call[network.DeleteCookiesParams, cdp.Empty](t.ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: c.Name, Domain: c.Domain, Path: c.Path})
	return err
}
