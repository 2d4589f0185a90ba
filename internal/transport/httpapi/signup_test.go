package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

func TestSignup(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		accepted := func(t *testing.T, r reply) { r.want(t, http.StatusCreated, `{"accepted":true}`) }
		invalid := func(field, message string) func(*testing.T, reply) {
			return func(t *testing.T, r reply) {
				r.refused(t, fault.ValidationError, fault.Field{Field: field, Message: message})
			}
		}
		created := []string{
			`user.signup.accepted by new@example.com on new@example.com {"created":true,"provider":"password"}`,
			`user.created by new@example.com on new@example.com {"provider":"password"}`,
		}
		taken := []string{`user.signup.accepted {"created":false,"provider":"password"}`}
		for _, row := range []struct {
			name  string
			body  string
			check func(*testing.T, reply)
			audit []string
		}{
			{"a new address is accepted", credentials("new@example.com", good), accepted, created},
			{"a taken address gets the same answer", credentials("new@example.com", good), accepted, taken},
			{"so it does in other letters", credentials(" New@Example.COM ", good), accepted, taken},
			{"and with a name before it", credentials("Jo <new@example.com>", good), accepted, taken},
			{"unknown fields are ignored, whatever is in them", `{"email":"new@example.com","password":"` + good + `","age":1e999,"x":[{}]}`, accepted, taken},
			{"the password is missing", `{"email":"a@example.com"}`, invalid("password", "is required"), nil},
			{"the address is a number", `{"email":1,"password":"` + good + `"}`, invalid("email", "must be text"), nil},
			{"the password is null", `{"email":"a@example.com","password":null}`, invalid("password", "must be text"), nil},
			{"the address has no domain", credentials("a@localhost", good), invalid("email", "must be an e-mail address"), nil},
			{"the address is no address", credentials("someone", good), invalid("email", "must be an e-mail address"), nil},
			{"the address is at a reserved domain", credentials("a@shop.test", good), invalid("email", "must be at a domain that can receive mail"), nil},
			{"the address is too long", credentials(strings.Repeat("a", 320)+"@example.com", good), invalid("email", "must be at most 320 characters long"), nil},
			{"the password is short", credentials("a@example.com", "Ab-1"), invalid("password", "must be at least 8 characters long"), nil},
			{"the password has no uppercase letter", credentials("a@example.com", "correct-horse-7"), invalid("password", "must contain an uppercase letter"), nil},
			{"the password has neither number nor special character", credentials("a@example.com", "CorrectHorse"), invalid("password", "must contain a number and a special character"), nil},
			{"there is a NUL in the password", `{"email":"a@example.com","password":"Correct-Horse-7\u0000"}`, invalid("password", "must be text"), nil},
			{"the body is a list", `[]`, invalid("body", "must be an object"), nil},
			{"the body is null", `null`, invalid("body", "must be an object"), nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				row.check(t, s.post("/auth/signup", row.body))
				s.recorded(t, row.audit...)
			})
		}
		t.Run("two fields are wrong and both are named", func(t *testing.T) {
			s.post("/auth/signup", `{}`).refused(t, fault.ValidationError,
				fault.Field{Field: "email", Message: "is required"}, fault.Field{Field: "password", Message: "is required"})
		})
	})
}

func TestSignupMails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		first := s.signUp(t, "ann@example.com")

		t.Run("a taken address that is not confirmed is told so, with a link that works", func(t *testing.T) {
			s.post("/auth/signup", credentials("ann@example.com", "Another-Horse-8"))
			mail := s.mails(t, "ann@example.com", 2)[0]
			if mail.Subject != "You already have an account" {
				t.Errorf("subject %q", mail.Subject)
			}
			s.post("/auth/verify-email", fmt.Sprintf(`{"token":%q}`, first)).refused(t, fault.InvalidVerifyToken)
			s.post("/auth/verify-email", fmt.Sprintf(`{"token":%q}`, mail.Tokens()[0])).want(t, 200, `{"verified":true}`)
		})
		t.Run("a taken address that is confirmed is told so, without a link", func(t *testing.T) {
			s.post("/auth/signup", credentials("ann@example.com", "Stranger-Horse-9"))
			mail := s.mails(t, "ann@example.com", 3)[0]
			if mail.Subject != "You already have an account" || len(mail.Links()) > 0 {
				t.Errorf("subject %q, links %v", mail.Subject, mail.Links())
			}
		})
		// Whoever signs an address up first need not own it: who reads the mail does.
		t.Run("the password that counts is of the sign-up whose link was confirmed", func(t *testing.T) {
			s.post("/auth/login", credentials("ann@example.com", good)).refused(t, fault.InvalidCredentials)
			s.post("/auth/login", credentials("ann@example.com", "Stranger-Horse-9")).refused(t, fault.InvalidCredentials)
			if a := s.post("/auth/login", credentials("ann@example.com", "Another-Horse-8")); a.status != 200 {
				t.Errorf("status %d", a.status)
			}
		})
		t.Run("at most three mails an hour tell that an address is taken; the answer stays", func(t *testing.T) {
			for range 3 {
				s.post("/auth/signup", credentials("ann@example.com", good)).want(t, 201, `{"accepted":true}`)
			}
			s.signUp(t, "bea@example.com") // by then a fourth mail would be there
			if n := len(s.mails(t, "ann@example.com", 3)); n != 3 {
				t.Errorf("%d mails", n)
			}
		})
	})
}

func TestVerifyEmail(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		byLink := func(token string) reply { return s.get("/auth/verify-email?token=" + token) }
		byPost := func(token string) reply { return s.post("/auth/verify-email", fmt.Sprintf(`{"token":%q}`, token)) }

		for i, way := range []struct {
			name string
			use  func(string) reply
		}{{"a link is good once", byLink}, {"a posted token is good once", byPost}} {
			t.Run(way.name, func(t *testing.T) {
				email := fmt.Sprintf("once%d@example.com", i)
				token := s.signUp(t, email)
				s.events(t)
				way.use(token).want(t, http.StatusOK, `{"verified":true}`)
				s.recorded(t, fmt.Sprintf(`user.email.verified by %[1]s on %[1]s {"operation":"verify"}`, email))
				way.use(token).refused(t, fault.InvalidVerifyToken)
				s.recorded(t, `user.email.verified: invalid_verify_token {"operation":"verify"}`)
			})
		}
		t.Run("spaces around the token do not matter", func(t *testing.T) {
			byPost("  "+s.signUp(t, "spaces@example.com")+" ").want(t, http.StatusOK, `{"verified":true}`)
		})
		t.Run("a token that nobody made is refused", func(t *testing.T) {
			byLink("0123456789abcdef0123456789abcdef").refused(t, fault.InvalidVerifyToken)
		})
		t.Run("a short token is not a token", func(t *testing.T) {
			short := fault.Field{Field: "token", Message: "must be at least 16 characters long"}
			byLink("short").refused(t, fault.ValidationError, short)
			byPost("short").refused(t, fault.ValidationError, short)
		})
		t.Run("no token is not a token", func(t *testing.T) {
			missing := fault.Field{Field: "token", Message: "is required"}
			s.get("/auth/verify-email").refused(t, fault.ValidationError, missing)
			s.post("/auth/verify-email", `{}`).refused(t, fault.ValidationError, missing)
		})
		t.Run("a token must be text", func(t *testing.T) {
			byLink(strings.Repeat("%ff", 20)).refused(t, fault.ValidationError, fault.Field{Field: "token", Message: "must be text"})
			byLink("0123456789abcdef%00").refused(t, fault.ValidationError, fault.Field{Field: "token", Message: "must be text"})
		})
		t.Run("after a day the link is dead", func(t *testing.T) {
			token := s.signUp(t, "late@example.com")
			s.clock.Advance(verifyTTL)
			byLink(token).refused(t, fault.InvalidVerifyToken)
		})
	})
}

func TestVerifyPage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.post("/auth/signup", credentials("page@example.com", good))
		mail := s.mails(t, "page@example.com", 1)[0]
		link, ok := strings.CutPrefix(mail.Links()[0], baseURL)
		if !ok || !strings.HasPrefix(link, "/verify-email?token=") {
			t.Fatalf("the mail links to %s", mail.Links()[0])
		}
		press := func(token string) reply {
			return s.post("/verify-email", "token="+token, "Content-Type", "application/x-www-form-urlencoded")
		}
		page := func(t *testing.T, r reply, status int, says string) {
			t.Helper()
			if r.status != status || !strings.Contains(r.body, says) || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
				t.Errorf("status %d, want %d and %q in\n%s", r.status, status, says, r.body)
			}
			if r.header.Get("Cache-Control") != "no-store" || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("headers %v", r.header)
			}
		}
		s.events(t)
		t.Run("opening the link, as mail scanners do, asks for a click and uses nothing up", func(t *testing.T) {
			for range 3 {
				page(t, s.get(link), http.StatusOK, `value="`+mail.Tokens()[0]+`"`)
			}
			s.send(request("HEAD", link, ""))
			s.recorded(t)
		})
		t.Run("the click confirms, once", func(t *testing.T) {
			page(t, press(mail.Tokens()[0]), http.StatusOK, "Address confirmed")
			s.recorded(t, `user.email.verified by page@example.com on page@example.com {"operation":"verify"}`)
			page(t, press(mail.Tokens()[0]), http.StatusBadRequest, "This link does not work")
		})
		t.Run("a link without a token says that it does not work", func(t *testing.T) {
			page(t, s.get("/verify-email"), http.StatusBadRequest, "This link does not work")
			page(t, s.post("/verify-email", ""), http.StatusBadRequest, "This link does not work")
		})
		t.Run("what is in the link is text to the page, not HTML", func(t *testing.T) {
			r := s.get(`/verify-email?token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E%00%ff`)
			page(t, r, http.StatusOK, "&lt;script&gt;")
			if strings.Contains(r.body, "<script") {
				t.Error(r.body)
			}
		})
		t.Run("errors are pages too", func(t *testing.T) {
			page(t, press(strings.Repeat("a", 70<<10)), http.StatusRequestEntityTooLarge, "The request body is too large.")
			page(t, press("%zz"), http.StatusBadRequest, "That did not work")
			page(t, s.get("/dev/mailbox?to=%00"), http.StatusUnprocessableEntity, "Some fields are not valid.")
		})
	})
}
