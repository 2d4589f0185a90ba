package httpapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/transport/web"
	"github.com/authsdk/authsdk/ui"
)

// docsPolicy lets the bundled viewer run: its scripts and styles come from
// here; it sets styles inline.
const docsPolicy = "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// mountDocs serves the API description and a viewer of it.
func (a *API) mountDocs(mux *web.Mux, description *huma.OpenAPI) {
	handle := func(pattern string, h web.Handler) { mux.Handle(pattern, web.Handle(a.Log, h)) }
	handle("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) error {
		web.WriteJSON(w, http.StatusOK, description)
		return nil
	})
	handle("GET /docs", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		http.ServeFileFS(w, r, ui.Files, "static/docs.html")
		return nil
	})
	handle("GET /docs/{file}", web.Files(ui.Static("swagger-ui")))
}
