package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// failure is an error as huma writes it.
type failure struct {
	web.Envelope
	status int
	header http.Header
}

func (f *failure) Error() string             { return f.Code }
func (f *failure) GetStatus() int            { return f.status }
func (f *failure) GetHeaders() http.Header   { return f.header }
func (f *failure) ContentType(string) string { return jsonType }

func (a *API) failure(ctx context.Context, err error) *failure {
	status, header, body := web.Explain(ctx, a.Log, err)
	return &failure{body, status, header}
}

// translate is a huma.Transformer: it puts what huma itself refuses into our
// envelope.
func (a *API) translate(ctx huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	f := a.failure(ctx.Context(), refusal(model))
	for name, values := range f.header {
		ctx.SetHeader(name, values[0])
	}
	ctx.SetHeader("Content-Type", jsonType)
	return f.Envelope, nil
}

// refusal is the fault that huma means. Its statuses are those of our faults.
func refusal(model *huma.ErrorModel) error {
	switch model.Status {
	case http.StatusBadRequest:
		return fault.New(fault.MalformedRequest)
	case http.StatusUnsupportedMediaType:
		return fault.New(fault.UnsupportedMediaType)
	case http.StatusUnprocessableEntity:
		f := fault.New(fault.ValidationError)
		for _, detail := range model.Errors {
			f.Fields = append(f.Fields, fieldOf(detail))
		}
		return f
	}
	return fmt.Errorf("huma answered %d", model.Status) // cannot be: we read the body and choose the format
}

// fieldOf takes over place and message of what huma found, never the value.
func fieldOf(detail *huma.ErrorDetail) fault.Field {
	at := detail.Location
	for _, place := range []string{"body.", "query.", "path.", "header."} {
		if name, ok := strings.CutPrefix(at, place); ok {
			at = name
			break
		}
	}
	if m := missing.FindStringSubmatch(detail.Message); m != nil { // huma names the object around it
		return fault.Field{Field: join(strings.TrimPrefix(at, "body"), m[1]), Message: "is required"}
	}
	for _, m := range messages {
		if m.huma.MatchString(detail.Message) {
			return fault.Field{Field: at, Message: m.huma.ReplaceAllString(detail.Message, m.ours)}
		}
	}
	return fault.Field{Field: at, Message: "is not valid"}
}

var missing = regexp.MustCompile(`^expected required property (.+) to be present$`)

// messages is how we say what huma says (its package validation). What is not
// listed "is not valid": some messages hold the rejected value.
var messages = []struct {
	huma *regexp.Regexp
	ours string
}{
	{regexp.MustCompile(`^required \w+ parameter is missing$`), `is required`},
	{regexp.MustCompile(`^expected string$`), `must be text`},
	{regexp.MustCompile(`^expected boolean$|^invalid boolean$`), `must be true or false`},
	{regexp.MustCompile(`^expected integer$|^invalid integer$`), `must be a whole number`},
	{regexp.MustCompile(`^expected number$|^invalid float$`), `must be a number`},
	{regexp.MustCompile(`^expected array$`), `must be a list`},
	{regexp.MustCompile(`^expected object$`), `must be an object`},
	{regexp.MustCompile(`^expected length >= 1$`), `must not be empty`},
	{regexp.MustCompile(`^expected length >= (\d+)$`), `must be at least $1 characters long`},
	{regexp.MustCompile(`^expected length <= (\d+)$`), `must be at most $1 characters long`},
	{regexp.MustCompile(`^expected number >= ([\d.-]+)$`), `must be at least $1`},
	{regexp.MustCompile(`^expected number <= ([\d.-]+)$`), `must be at most $1`},
	{regexp.MustCompile(`^expected array length >= 1$`), `must not be empty`},
	{regexp.MustCompile(`^expected array length >= (\d+)$`), `must have at least $1 entries`},
	{regexp.MustCompile(`^expected array length <= (\d+)$`), `must have at most $1 entries`},
	{regexp.MustCompile(`^expected array items to be unique$`), `must not repeat an entry`},
	{regexp.MustCompile(`^expected value to be one of "(.*)"$`), `must be one of $1`},
	{regexp.MustCompile(`(?s)^expected string to be RFC 4122 uuid: .*`), `must be a UUID`},
	{regexp.MustCompile(`^expected string to be RFC 3339 date-time$`), `must be a time like 2006-01-02T15:04:05Z`},
}
