package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// Readiness names what does not work. Failing parts make the service not ready;
// degraded ones only slower.
type Readiness struct {
	Failing  []string
	Degraded []string
}

type healthAPI struct {
	ready func(ctx context.Context) Readiness
}

func (a healthAPI) routes() []Route {
	return []Route{
		plain("GET /health/live", "Is the process alive", a.live, answers[health]).tag("Health").quiet().limit(web.Free).anyHost(),
		plain("GET /health/ready", "Can it answer", a.readiness, answers[health]).tag("Health").quiet().limit(web.Free).anyHost(),
	}
}

type health struct {
	Status   string   `json:"status" enum:"live,ready"`
	Degraded []string `json:"degraded,omitempty" doc:"Parts that are down without harm: redis."`
}

func (a healthAPI) live(w http.ResponseWriter, _ *http.Request) error {
	web.WriteJSON(w, http.StatusOK, health{Status: "live"})
	return nil
}

func (a healthAPI) readiness(w http.ResponseWriter, r *http.Request) error {
	state := a.ready(r.Context())
	if len(state.Failing) == 0 {
		web.WriteJSON(w, http.StatusOK, health{"ready", state.Degraded})
		return nil
	}
	f := fault.Retry(fault.ServiceUnavailable, time.Second)
	for _, part := range state.Failing {
		f.Fields = append(f.Fields, fault.Field{Field: part, Message: "does not answer"})
	}
	return f
}
