package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// auditAPI is the log of what happened, and what proves that nobody changed it.
type auditAPI struct {
	log   *audit.Log
	chain *audit.Chain
}

func (a auditAPI) routes() []Route {
	return []Route{
		query("GET /admin/audit-log", "List what happened, newest first", a.list, fault.InvalidCursor).tag(administration).auth(Admin),
		decoded("POST /admin/audit-log/export", "Download what happened, with what proves it, as lines of JSON", http.StatusOK, nil, a.export).
			tag(administration).auth(Admin).stepUp(stepup.ExportAudit, "").optionalBody().streams("application/x-ndjson"),
		query("GET /admin/audit-log/head", "Show the newest signed head of the log", a.head, fault.NotFound).tag(administration).auth(Admin),
		plain("GET /.well-known/audit-keys.json", "The keys that verify heads of the log", a.keys, answersAuditKeys).
			tag("Services").quiet().limit(web.Machine).anyHost(),
	}
}

type auditQuery struct {
	ActorID       string `query:"actor_id" format:"uuid" doc:"Who acted."`
	TargetID      string `query:"target_id" format:"uuid" doc:"What was acted on."`
	EventType     string `query:"event_type" maxLength:"128" doc:"How the type begins." example:"user.login."`
	Success       string `query:"success" enum:"true,false"`
	IPAddress     string `query:"ip_address" maxLength:"64"`
	CorrelationID string `query:"correlation_id" maxLength:"128"`
	DateFrom      string `query:"date_from" format:"date-time" doc:"Inclusive, as date_to. Both, at most 31 days apart, are needed where ip_address, correlation_id or success stand without an actor, a target or a type."`
	DateTo        string `query:"date_to" format:"date-time"`
	Cursor        string `query:"cursor" doc:"next_cursor of the page before."`
	Limit         int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (a auditAPI) list(ctx context.Context, in auditQuery) (pageOf[auditItem], error) {
	f := audit.Filter{Type: in.EventType, Success: either(in.Success), IP: in.IPAddress, CorrelationID: in.CorrelationID}
	if err := idsAndTimes(&f, in.ActorID, in.TargetID, in.DateFrom, in.DateTo); err != nil {
		return pageOf[auditItem]{}, err
	}
	page, err := a.log.List(ctx, f, in.Cursor, in.Limit)
	return pageFrom(page, auditItemOf), err
}

// idsAndTimes reads what a filter has of them; empty is none.
func idsAndTimes(f *audit.Filter, actor, target, from, to string) (err error) {
	if actor != "" {
		if f.Actor, err = idOf("actor_id", actor); err != nil {
			return err
		}
	}
	if target != "" {
		if f.Target, err = idOf("target_id", target); err != nil {
			return err
		}
	}
	if f.From, err = audit.ParseTime("date_from", from); err != nil {
		return err
	}
	f.To, err = audit.ParseTime("date_to", to)
	return err
}

type exportInput struct {
	ActorID       *string `json:"actor_id,omitempty" nullable:"true" format:"uuid"`
	TargetID      *string `json:"target_id,omitempty" nullable:"true" format:"uuid"`
	EventType     *string `json:"event_type,omitempty" nullable:"true" maxLength:"128" doc:"How the type begins."`
	Success       *bool   `json:"success,omitempty" nullable:"true"`
	IPAddress     *string `json:"ip_address,omitempty" nullable:"true" maxLength:"64"`
	CorrelationID *string `json:"correlation_id,omitempty" nullable:"true" maxLength:"128"`
	DateFrom      *string `json:"date_from,omitempty" nullable:"true" format:"date-time" doc:"Inclusive, as date_to."`
	DateTo        *string `json:"date_to,omitempty" nullable:"true" format:"date-time"`
}

func (in exportInput) filter() (f audit.Filter, err error) {
	f = audit.Filter{Type: orEmpty(in.EventType), Success: in.Success, IP: orEmpty(in.IPAddress), CorrelationID: orEmpty(in.CorrelationID)}
	err = idsAndTimes(&f, orEmpty(in.ActorID), orEmpty(in.TargetID), orEmpty(in.DateFrom), orEmpty(in.DateTo))
	return f, err
}

type exportQuery struct{ Body exportInput }

// export is answered as it is read. Once it has begun it can only break off: then
// its last line is missing, which verification tells.
func (a auditAPI) export(ctx context.Context, in *exportQuery) (*huma.StreamResponse, error) {
	f, err := in.Body.filter()
	if err != nil {
		return nil, err
	}
	if err := a.chain.RecordExport(ctx, by(ctx), f); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		answer.SetHeader("Content-Type", "application/x-ndjson")
		answer.SetHeader("Content-Disposition", `attachment; filename="audit.jsonl"`)
		answer.SetHeader("Cache-Control", "no-store")
		if _, err := a.chain.Export(ctx, streaming(answer.BodyWriter()), f); err != nil {
			a.chain.Log.Warn("an export of the audit log broke off", "error", err)
		}
	}}, nil
}

// chunkFor is how long a client may take for a part of a stream.
const chunkFor = 60 * time.Second

// stream writes what may be long: every part has its own time, unlike other
// answers, which have one for all.
type stream struct {
	to      io.Writer
	control *http.ResponseController
	waiting int
}

func streaming(w io.Writer) io.Writer {
	if to, ok := w.(http.ResponseWriter); ok {
		return &stream{to: w, control: http.NewResponseController(to)}
	}
	return w
}

func (s *stream) Write(b []byte) (int, error) {
	if s.waiting == 0 {
		s.control.SetWriteDeadline(time.Now().Add(chunkFor)) // a recorder in a test has none
	}
	n, err := s.to.Write(b)
	if s.waiting += n; err == nil && s.waiting > 64<<10 {
		s.waiting = 0
		s.control.Flush()
	}
	return n, err
}

func (a auditAPI) head(ctx context.Context, _ struct{}) (audit.Head, error) {
	return audit.LastHead(ctx, a.log.DB.Read())
}

func answersAuditKeys(op *huma.Operation, api huma.API) { answers[audit.KeySet](op, api) }

// keys may be cached as those of tokens are: they change when a secret is lost.
func (a auditAPI) keys(w http.ResponseWriter, r *http.Request) error {
	keys, err := a.chain.Keys(r.Context())
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=60")
	h.Del("Pragma")
	web.WriteJSON(w, http.StatusOK, audit.KeySet{Keys: append([]audit.PublicKey{}, keys...)})
	return nil
}
