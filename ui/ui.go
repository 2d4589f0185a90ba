// Package ui holds the pages and static files that authd serves, embedded in
// the binary.
package ui

import (
	"embed"
	"io/fs"
)

// Files is the whole tree: pages/ and static/.
//
//go:embed pages static
var Files embed.FS

// Static returns a folder of static/.
func Static(name string) fs.FS {
	sub, err := fs.Sub(Files, "static/"+name)
	if err != nil {
		panic(err) // only for a name that is not a path
	}
	return sub
}
