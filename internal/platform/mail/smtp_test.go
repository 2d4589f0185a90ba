package mail_test

import (
	"context"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/platform/mail"
)

var message = mail.Message{
	ID: "0198f0c4-1111-7000-8000-000000000001", To: "jo@example.org", Subject: "Grüße: verify your email",
	Text: "Öffnen:\n\nhttps://auth.example.com/verify-email?token=abc\n.\n", HTML: "<p>Öffnen: <a href=\"https://auth.example.com/\">ja</a></p>\n",
}

// A received message, read as a mail program does.
type received struct {
	MessageID, From, To, Subject string
	Parts                        map[string]string // by content type
}

func open(t *testing.T, data string) received {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	r := received{m.Header.Get("Message-ID"), m.Header.Get("From"), m.Header.Get("To"), subject, map[string]string{}}
	if _, err := m.Header.Date(); err != nil {
		t.Errorf("no date: %v", err)
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("it is %s, %v: a mail program shows one of two parts only of multipart/alternative", kind, err)
	}
	for parts := multipart.NewReader(m.Body, parameters["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = part
		switch part.Header.Get("Content-Transfer-Encoding") {
		case "quoted-printable":
			body = quotedprintable.NewReader(part)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, part)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		kind, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || !strings.EqualFold(parameters["charset"], "utf-8") {
			t.Errorf("a part is %s %v, %v", kind, parameters, err)
		}
		r.Parts[kind] = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
}

func TestSMTPHandsOverTheWholeMessage(t *testing.T) {
	s := serve(t, &server{})
	for range 2 {
		if err := s.sender("none").Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	got := s.got()
	if len(got) != 2 {
		t.Fatalf("%d messages came", len(got))
	}
	for _, e := range got {
		if e.From != "<auth@example.com>" || e.To != "<jo@example.org>" || e.TLS {
			t.Errorf("envelope from %s to %s, TLS %v", e.From, e.To, e.TLS)
		}
		want := received{
			MessageID: "<" + message.ID + "@example.com>", // the same both times, so mail systems drop the second
			From:      `"Auth" <auth@example.com>`, To: "<jo@example.org>", Subject: message.Subject,
			Parts: map[string]string{"text/plain": message.Text, "text/html": message.HTML},
		}
		if diff := cmp.Diff(want, open(t, e.Data)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSMTPEncryptsAsItIsTold(t *testing.T) {
	strange := unknown(t)
	tests := []struct {
		name, policy string
		server       *server
		refused      string // empty: sent
		encrypted    bool
		asked        bool // for STARTTLS
	}{
		{"none does not encrypt", "none", &server{}, "", false, false},
		{"none does not even ask", "none", &server{tls: known}, "", false, false},
		{"opportunistic encrypts where it is offered", "opportunistic", &server{tls: known}, "", true, true},
		{"opportunistic goes on where it is not", "opportunistic", &server{}, "", false, false},
		{"opportunistic refuses a certificate that nobody knows", "opportunistic", &server{tls: strange}, "certificate", false, true},
		{"starttls encrypts", "starttls", &server{tls: known}, "", true, true},
		{"starttls refuses a server that does not offer it", "starttls", &server{}, "STARTTLS", false, false},
		{"starttls refuses a certificate that nobody knows", "starttls", &server{tls: strange}, "certificate", false, true},
		{"tls encrypts from the first byte", "tls", &server{tls: known, implicit: true}, "", true, false},
		{"tls refuses a server that begins in the clear", "tls", &server{}, "tls", false, false},
		{"tls refuses a certificate that nobody knows", "tls", &server{tls: strange, implicit: true}, "certificate", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.server)
			for what, act := range map[string]func() error{
				"Send":  func() error { return s.sender(tt.policy).Send(t.Context(), message) },
				"Greet": func() error { return s.sender(tt.policy).Greet(t.Context()) },
			} {
				err := act()
				if tt.refused == "" && err != nil || tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)) {
					t.Errorf("%s answers %v, want %q", what, err, tt.refused)
				}
			}
			got := s.got()
			if (len(got) == 1) != (tt.refused == "") {
				t.Errorf("%d messages came", len(got))
			}
			for _, e := range got {
				if e.TLS != tt.encrypted {
					t.Errorf("encrypted: %v, want %v", e.TLS, tt.encrypted)
				}
			}
			if asked := s.heard("STARTTLS"); asked != tt.asked {
				t.Errorf("asked for STARTTLS: %v, want %v", asked, tt.asked)
			}
		})
	}
}

func TestSMTPLogsInOverTLSOnly(t *testing.T) {
	right := base64.StdEncoding.EncodeToString([]byte("\x00user\x00secret"))
	tests := []struct {
		name, policy string
		server       *server
		refused      string
	}{
		{"after STARTTLS", "starttls", &server{tls: known, login: right}, ""},
		{"on a port that is TLS from the start", "tls", &server{tls: known, implicit: true, login: right}, ""},
		{"with a wrong password", "starttls", &server{tls: known, login: "other"}, "535"},
		{"where nobody asks for one", "starttls", &server{tls: known}, "AUTH"},
		{"never in the clear", "none", &server{login: right}, "smtp"},
		{"never in the clear, not even where TLS is not offered", "opportunistic", &server{login: right}, "smtp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.server)
			sender := s.sender(tt.policy)
			sender.Username, sender.Password = "user", "secret"
			err := sender.Send(t.Context(), message)
			if tt.refused == "" && err != nil || tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("got %v, want %q", err, tt.refused)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
			if sent := len(s.got()) == 1 && s.got()[0].Login == "PLAIN "+right; sent != (tt.refused == "") {
				t.Errorf("what came: %+v", s.got())
			}
			if !s.heard("STARTTLS") && !tt.server.implicit && s.heard("AUTH") {
				t.Error("it logged in in the clear")
			}
		})
	}
}

func TestSMTPSaysWhyItCouldNot(t *testing.T) {
	tests := []struct {
		name    string
		answers map[string]string
		want    string
	}{
		{"the sender is refused", map[string]string{"MAIL": "550 not from you"}, "not from you"},
		{"the recipient is refused", map[string]string{"RCPT": "550 nobody here"}, "nobody here"},
		{"data is refused", map[string]string{"DATA": "451 later"}, "later"},
		{"the message is refused when it has been read", map[string]string{".": "552 too big"}, "too big"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{answers: tt.answers})
			err := s.sender("none").Send(t.Context(), message)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if len(s.got()) > 0 {
				t.Error("it was taken nevertheless")
			}
		})
	}
}

// It has the message: sending it again would only make a second one.
func TestSMTPThatHangsUpAfterItTookTheMessageIsNoError(t *testing.T) {
	for _, verb := range []string{"NOOP", "RSET", "QUIT"} {
		t.Run(verb, func(t *testing.T) {
			s := serve(t, &server{hangUp: verb})
			if err := s.sender("none").Send(t.Context(), message); err != nil {
				t.Error(err)
			}
			if n := len(s.got()); n != 1 {
				t.Errorf("%d messages came", n)
			}
		})
	}
}

func TestSMTPThatIsNotThereIsAnError(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: closed}
	closed.Close()
	if err := s.sender("opportunistic").Send(t.Context(), message); err == nil {
		t.Error("Send succeeded")
	}
	if err := s.sender("opportunistic").Greet(t.Context()); err == nil {
		t.Error("Greet succeeded")
	}
}

func TestSMTPThatNeverAnswersIsLeftWhenTheCallerGoes(t *testing.T) {
	s := serve(t, &server{answers: map[string]string{"silence": "yes"}})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.sender("none").Send(ctx, message) }()
	cancel()
	if err := <-result; err == nil {
		t.Error("Send succeeded")
	}
}

func TestSMTPTakesAddressesOnly(t *testing.T) {
	s := serve(t, &server{})
	for _, to := range []string{"", "jo", "jo@example.org\r\nBcc: all@example.org", "a@example.org, b@example.org"} {
		m := message
		m.To = to
		if err := s.sender("none").Send(t.Context(), m); err == nil || to != "" && strings.Contains(err.Error(), to) {
			t.Errorf("%q: got %v, want an error that does not repeat it", to, err)
		}
	}
	bad := s.sender("none")
	bad.From = "nobody"
	if err := bad.Send(t.Context(), message); err == nil || !strings.Contains(err.Error(), "sender") {
		t.Errorf("a bad sender: %v", err)
	}
	if len(s.got()) > 0 || s.heard("MAIL") {
		t.Error("the server was bothered")
	}
}
