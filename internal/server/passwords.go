package server

import (
	"fmt"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
)

// passwordsOf makes the password service by the settings, and reads the list of
// passwords that nobody may choose.
func passwordsOf(cfg *config.Config, hasher *secret.Hasher) (*password.Service, error) {
	p := cfg.Password
	s := &password.Service{Hasher: hasher, Policy: password.Policy{
		MinLength: p.MinLength, MaxLength: p.MaxLength,
		Uppercase: p.RequireUppercase, Lowercase: p.RequireLowercase, Digit: p.RequireDigit, Special: p.RequireSpecial,
	}}
	if p.DenyListFile == "" {
		return s, nil
	}
	known, err := password.OpenDenyList(p.DenyListFile)
	if err != nil {
		return nil, fmt.Errorf("PASSWORD__DENY_LIST_FILE names a list that cannot be used: %w (mend the path or the file, or leave it empty)", err)
	}
	s.Known = known
	return s, nil
}
