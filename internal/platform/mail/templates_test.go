package mail_test

import (
	"html"
	"os"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/platform/mail"
)

// filled is what any template may name; a new name is added here.
var filled = map[string]any{
	"Email": `"<b>jo</b>"@example.org`,
	"Link":  "https://auth.example.com/verify-email?a=1&token=abc",
	"Life":  "24 hours",

	"Code": "123456", "Action": "orders-api:refund", "Target": "order <17>",
}

func TestEveryMailHasThreeTemplates(t *testing.T) {
	entries, err := os.ReadDir("messages")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string][]string{}
	for _, e := range entries {
		name, kind, _ := strings.Cut(e.Name(), ".")
		kinds[name] = append(kinds[name], kind)
	}
	if len(kinds) < 2 {
		t.Fatalf("only %d mails", len(kinds))
	}
	for name, got := range kinds {
		t.Run(name, func(t *testing.T) {
			if strings.Join(got, " ") != "html subject txt" {
				t.Fatalf("it has %v, want html, subject and txt", got)
			}
			without := map[string]any{"Link": ""}
			for key, value := range filled {
				if _, set := without[key]; !set {
					without[key] = value
				}
			}
			for _, data := range []map[string]any{filled, without} {
				var m mail.Message
				if err := m.Fill(name, data); err != nil {
					t.Fatal(err)
				}
				checkFilled(t, m, data["Link"].(string), hasLink(t, name))
			}
		})
	}
}

// hasLink reports whether a mail is one with a link.
func hasLink(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("messages/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), ".Link}}")
}

func checkFilled(t *testing.T, m mail.Message, link string, linked bool) {
	t.Helper()
	if m.Subject == "" || strings.ContainsAny(m.Subject, "\r\n") || m.Subject != strings.TrimSpace(m.Subject) {
		t.Errorf("subject %q", m.Subject)
	}
	for part, text := range map[string]string{"subject": m.Subject, "text": m.Text, "HTML": m.HTML} {
		if strings.Contains(text, "no value") || strings.Contains(text, "{{") {
			t.Errorf("the %s names something that filled does not hold:\n%s", part, text)
		}
	}
	if strings.Contains(m.HTML, "<b>") {
		t.Errorf("the HTML holds what somebody typed:\n%s", m.HTML)
	}
	if strings.Contains(m.Text, "&lt;") || strings.Contains(m.Text, "&amp;") {
		t.Errorf("the text is escaped:\n%s", m.Text)
	}
	if link == "" {
		return
	}
	if strings.Contains(m.Text, link) != strings.Contains(html.UnescapeString(m.HTML), link) {
		t.Error("the link is in one of text and HTML only")
	}
	links := (mail.Stored{Message: m}).Links()
	if linked && (len(links) != 1 || links[0] != link) || !linked && len(links) > 0 {
		t.Errorf("the mailbox finds %q in the text, want %s: %v", links, link, linked)
	}
}

func TestAMailThatIsNotThereIsAnError(t *testing.T) {
	var m mail.Message
	if err := m.Fill("no_such_mail", nil); err == nil {
		t.Error("no error")
	}
}
