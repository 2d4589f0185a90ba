package server

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// signing is what the settings say of the keys that sign.
func signing(cfg *config.Config, feed *revocation.Feed) keyring.Options {
	ours := max(cfg.JWT.AccessTokenTTL, cfg.Email.OTPTTL, cfg.Email.ActionTokenTTL)
	return keyring.Options{
		Algorithm: cfg.JWT.Algorithm, PrivatePEM: cfg.JWT.PrivateKeyPEM.Reveal(), PublicPEM: cfg.JWT.PublicKeyPEM.Reveal(),
		Feed: feed, Overlap: cfg.SigningKeys.RotationOverlap, Every: time.Duration(cfg.SigningKeys.RotationDays) * 24 * time.Hour,
		TokenLife: func(ctx context.Context, c db.Conn) (time.Duration, error) {
			machines, err := client.LongestTTL(ctx, c)
			return max(ours, machines), err
		},
	}
}
