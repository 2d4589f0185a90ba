package password

import "golang.org/x/text/unicode/norm"

// Has reports whether a password as it is typed is in the list.
func (d *DenyList) Has(password string) bool { return d.has(norm.NFC.String(password)) }
