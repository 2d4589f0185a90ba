package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// mostAnswer is how much of an answer is read.
const mostAnswer = 64 << 10

// result is how an attempt ended.
type result struct {
	status   int64         // 0: no answer
	text     string        // of the answer, or why there is none
	unsafe   bool          // the address may not be called
	wait     time.Duration // what the receiver asked for
	deadline bool          // it was not tried: there was no time left
}

func (r result) ok() bool { return r.status/100 == 2 }

// attempt sends a delivery once. It ends at the task's deadline.
func (s *Service) attempt(ctx context.Context, t task) result {
	ctx, cancel := context.WithDeadline(ctx, t.deadline)
	defer cancel()
	if ctx.Err() != nil {
		return result{deadline: true}
	}
	body, err := Body(t.Delivery)
	if err != nil {
		s.Log.ErrorContext(ctx, "a webhook delivery cannot be written", "delivery", t.ID, "error", err)
		return result{text: "the event cannot be written"}
	}
	current, old, err := s.secrets(t)
	if err != nil {
		s.Log.ErrorContext(ctx, "the secret of a webhook cannot be opened: rotate it", "endpoint", t.Endpoint, "error", err)
		return result{text: "the secret cannot be opened"}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return result{text: "the URL is not valid"}
	}
	request.Header = headers(t.Delivery, s.Clock.Now(), body, current, old)
	answer, err := s.Client.Do(request)
	if err != nil {
		return result{text: class(err), unsafe: errors.Is(err, errUnsafe)}
	}
	defer answer.Body.Close()
	read, _ := io.ReadAll(io.LimitReader(answer.Body, mostAnswer)) // a 2xx whose body breaks off is one all the same
	return result{status: int64(answer.StatusCode), text: s.keep(read), wait: s.retryAfter(answer)}
}

// secrets are those that sign now; old is empty if one does.
func (s *Service) secrets(t task) (current, old string, err error) {
	plain, err := s.Seal.Open(t.sealed, place(t.Endpoint))
	if err != nil {
		return "", "", err
	}
	if t.oldSealed == nil {
		return string(plain), "", nil
	}
	before, err := s.Seal.Open(t.oldSealed, place(t.Endpoint))
	if errors.Is(err, secret.ErrUnknownKey) { // it was going out anyway
		return string(plain), "", nil
	}
	return string(plain), string(before), err
}

// keep cuts an answer to text that can be stored.
func (s *Service) keep(body []byte) string {
	return cut(strings.ReplaceAll(strings.ToValidUTF8(string(body), "\ufffd"), "\x00", ""), s.BodyChars)
}

// cut is the first n characters of a text.
func cut(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

const mostWait = 24 * time.Hour

// retryAfter is what a receiver that has too much asks for.
func (s *Service) retryAfter(answer *http.Response) time.Duration {
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := answer.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, mostWait)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(s.Clock.Now())), mostWait)
	}
	return 0
}

// class says in a few words why there was no answer. The error's own text would
// tell addresses of our network.
func class(err error) string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var network net.Error
	switch {
	case errors.Is(err, errUnsafe):
		return "the address is not public"
	case errors.As(err, &dns) && !dns.IsTimeout:
		return "name not found"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection reset"
	case errors.As(err, &certificate), errors.As(err, &unknown):
		return "certificate is not valid"
	}
	return "no valid answer"
}
