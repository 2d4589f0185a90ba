package authsdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

const (
	connectTimeout = 2 * time.Second
	callTimeout    = 5 * time.Second // of a whole call, retry and body included
	maxBody        = 1 << 20
)

// answer is a response of the auth service, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var errTooLarge = errors.New("answer of the auth service is over 1 MiB")

// call sends one request to the auth service and reads the whole answer. The body
// is JSON, or nil.
func (c *Client) call(ctx context.Context, method, path string, header http.Header, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if header != nil {
		request.Header = header
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "authsdk-go/"+Version)
	response, err := c.send(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil && len(text) > maxBody {
		err = errTooLarge
	}
	return answer{response.StatusCode, response.Header, text}, err
}

// send tries a GET once more if the connection failed at once: a restarting server
// should not be seen by users. Timeouts are not tried again, they have cost the
// caller enough.
func (c *Client) send(r *http.Request) (*http.Response, error) {
	response, err := c.http.Do(r)
	var timeout net.Error
	if err == nil || r.Method != http.MethodGet || r.Context().Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return response, err
	}
	select {
	case <-time.After(c.pause()):
		return c.http.Do(r)
	case <-r.Context().Done():
		return nil, err
	}
}

// jitter keeps the services of a fleet from retrying in step.
func jitter() time.Duration { return 20*time.Millisecond + rand.N(80*time.Millisecond) }

// newHTTPClient returns the default client, or a copy of the one given, that
// follows no redirect (it would carry the bearer token elsewhere) and keeps no
// cookies.
func newHTTPClient(given *http.Client) *http.Client {
	c := http.Client{}
	if given != nil {
		c = *given
	} else {
		c.Transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			MaxIdleConnsPerHost:    100, // there is one host, and one call per user request
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	c.Jar = nil
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}
