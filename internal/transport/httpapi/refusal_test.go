package httpapi

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Every message of huma that a tag can lead to is said in our words.
func TestWhatHumaRefusesIsSaidInOurWords(t *testing.T) {
	type inner struct {
		Street string `json:"street"`
	}
	type input struct {
		Text   string   `json:"text,omitempty" minLength:"3" maxLength:"5"`
		Some   string   `json:"some,omitempty" minLength:"1"`
		Flag   bool     `json:"flag,omitempty"`
		Count  int      `json:"count,omitempty" minimum:"1" maximum:"200"`
		Ratio  float64  `json:"ratio,omitempty" minimum:"-0.5"`
		List   []string `json:"list,omitempty" minItems:"2" maxItems:"3" uniqueItems:"true" nullable:"false"`
		Any    []string `json:"any,omitempty" minItems:"1"`
		Status string   `json:"status,omitempty" enum:"active,revoked,all"`
		ID     string   `json:"id,omitempty" format:"uuid"`
		At     string   `json:"at,omitempty" format:"date-time"`
		Odd    string   `json:"odd,omitempty" pattern:"^a+$"`
		Where  *inner   `json:"where,omitempty"`
		Places []inner  `json:"places,omitempty"`
	}
	registry := huma.NewMapRegistry("#/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[input](), false, "")
	for _, row := range []struct{ body, field, message string }{
		{`{"text":"ab"}`, "text", "must be at least 3 characters long"},
		{`{"text":"abcdef"}`, "text", "must be at most 5 characters long"},
		{`{"text":1}`, "text", "must be text"},
		{`{"some":""}`, "some", "must not be empty"},
		{`{"flag":"yes"}`, "flag", "must be true or false"},
		{`{"count":0}`, "count", "must be at least 1"},
		{`{"count":201}`, "count", "must be at most 200"},
		{`{"count":1.5}`, "count", "must be a whole number"},
		{`{"count":"1"}`, "count", "must be a whole number"},
		{`{"ratio":"1"}`, "ratio", "must be a number"},
		{`{"ratio":-1}`, "ratio", "must be at least -0.5"},
		{`{"list":"a"}`, "list", "must be a list"},
		{`{"list":["a"]}`, "list", "must have at least 2 entries"},
		{`{"list":["a","b","c","d"]}`, "list", "must have at most 3 entries"},
		{`{"list":["a","a"]}`, "list", "must not repeat an entry"},
		{`{"list":["a",1]}`, "list[1]", "must be text"},
		{`{"any":[]}`, "any", "must not be empty"},
		{`{"status":"dead"}`, "status", "must be one of active, revoked, all"},
		{`{"id":"urn:uuid-and-more-of-the-secret"}`, "id", "must be a UUID"},
		{`{"at":"tomorrow"}`, "at", "must be a time like 2006-01-02T15:04:05Z"},
		{`{"odd":"b"}`, "odd", "is not valid"},
		{`{"where":"there"}`, "where", "must be an object"},
		{`{"where":{}}`, "where.street", "is required"},
		{`{"places":[{"street":"a"},{}]}`, "places[1].street", "is required"},
		{`[]`, "body", "must be an object"},
	} {
		t.Run(row.body, func(t *testing.T) {
			var value any
			if err := json.Unmarshal([]byte(row.body), &value); err != nil {
				t.Fatal(err)
			}
			path := huma.NewPathBuffer(nil, 0)
			path.Push("body")
			var found huma.ValidateResult
			huma.Validate(registry, schema, path, huma.ModeWriteToServer, value, &found)
			var got []fault.Field
			for _, err := range found.Errors {
				got = append(got, fieldOf(err.(*huma.ErrorDetail)))
			}
			if diff := cmp.Diff([]fault.Field{{Field: row.field, Message: row.message}}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMissingParameters(t *testing.T) {
	for _, row := range []struct{ location, message, field, want string }{
		{"query.token", "required query parameter is missing", "token", "is required"},
		{"path.id", "required path parameter is missing", "id", "is required"},
		{"query.limit", "invalid integer", "limit", "must be a whole number"},
		{"query.all", "invalid boolean", "all", "must be true or false"},
		{"query.id", `invalid value: "the secret" is not a UUID`, "id", "is not valid"},
		{"body", "json: cannot unmarshal number into Go struct field input.Body.email of type string", "body", "is not valid"},
	} {
		got := fieldOf(&huma.ErrorDetail{Location: row.location, Message: row.message, Value: "the secret"})
		if diff := cmp.Diff(fault.Field{Field: row.field, Message: row.want}, got); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", row.location, row.message, diff)
		}
	}
}

func TestNotText(t *testing.T) {
	type part struct {
		Name string `json:"name"`
	}
	type input struct {
		Token string `query:"token"`
		Body  struct {
			Email string   `json:"email"`
			List  []string `json:"list"`
			Part  *part    `json:"part"`
			None  *part    `json:"none"`
			Parts []part   `json:"parts"`
			inner string
		}
	}
	var in input
	in.Token, in.Body.Email, in.Body.inner = "a\x00", "fine", "\x00"
	in.Body.List = []string{"fine", "\xff"}
	in.Body.Part, in.Body.Parts = &part{"\x00"}, []part{{"é"}, {"\xc3"}}
	want := []fault.Field{
		{Field: "token", Message: "must be text"}, {Field: "list[1]", Message: "must be text"},
		{Field: "part.name", Message: "must be text"}, {Field: "parts[1].name", Message: "must be text"},
	}
	if diff := cmp.Diff(want, notText(reflect.ValueOf(in), "", nil)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
