package web

import (
	"bytes"
	"io/fs"
	"net/http"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Files serves the files of a folder, named by the wildcard {file} of the
// pattern; it lists none. They may be cached for an hour.
func Files(folder fs.FS) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("file")
		info, err := fs.Stat(folder, name)
		if err != nil || !info.Mode().IsRegular() {
			return fault.New(fault.NotFound)
		}
		content, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Del("Pragma")
		http.ServeContent(w, r, name, info.ModTime(), bytes.NewReader(content))
		return nil
	}
}
