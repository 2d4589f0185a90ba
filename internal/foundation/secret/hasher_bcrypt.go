package secret

import (
	"regexp"

	"golang.org/x/crypto/bcrypt"
)

// bcryptForm is a whole bcrypt hash. Its cost ends at 16 (seconds of a core):
// each step doubles it. $2x$ is missing, it marks hashes of a broken program.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$`)

// BcryptMost is how many bytes of a password bcrypt reads; the rest is as if it
// had not been typed.
const BcryptMost = 72

// IsBcrypt reports whether a hash is bcrypt's, made elsewhere and imported. It
// is of the bytes that were typed: verify it with those.
func IsBcrypt(hash string) bool { return bcryptForm.MatchString(hash) }

func matchesBcrypt(hash, password string) bool {
	typed := []byte(password)
	return bcrypt.CompareHashAndPassword([]byte(hash), typed[:min(len(typed), BcryptMost)]) == nil
}
