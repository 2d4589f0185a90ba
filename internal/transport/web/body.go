package web

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// BodyFault is the answer to a body that could not be read to its end: it is
// too large, cut off, too slow, or not what its headers say.
func BodyFault(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.New(fault.RequestTooLarge)
	}
	return fault.New(fault.MalformedRequest).Because(err)
}

// IsText reports whether a value can be stored as text: UTF-8 without NUL.
func IsText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
