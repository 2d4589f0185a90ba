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
func (a *API) mountDocs(mux *web.Mux, api huma.API) {
	mux.Handle("GET /openapi.json", web.Handle(a.Log, func(w http.ResponseWriter, r *http.Request) error {
		web.WriteJSON(w, http.StatusOK, api.OpenAPI())
		return nil
	}))
	mux.Handle("GET /docs", web.Handle(a.Log, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		http.ServeFileFS(w, r, ui.Files, "static/docs.html")
		return nil
	}))
	static := http.StripPrefix("/docs/", http.FileServerFS(ui.Static("swagger-ui")))
	mux.Handle("GET /docs/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Del("Pragma")
		static.ServeHTTP(w, r)
	}))
}
