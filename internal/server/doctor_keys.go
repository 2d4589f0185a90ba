package server

import (
	"context"
	"fmt"
	"time"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// tendedWithin is when a worker has retired a key whose time is over, at the
// latest.
const tendedWithin = time.Hour

func examineKeys(ctx context.Context, cfg *config.Config, d *db.DB) []Finding {
	const part = "signing keys"
	seal, err := existingSeal(ctx, cfg, d)
	if err != nil {
		return []Finding{{part, false, err.Error(), "set SIGNING_KEYS__ENCRYPTION_KEY"}}
	}
	mend := "set SIGNING_KEYS__ENCRYPTION_KEY to the secret the keys were sealed with, or list it in SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS"
	if seal == nil { // none is made yet, or it is lost: then keys are there that nothing opens
		seal = secret.NewRing("signing-keys", secret.Token(32))
		mend = "the secret that development had made is lost: bring back secrets.json (on PostgreSQL the row of dev_secrets), or begin with an empty database"
	}
	h, err := keyring.Examine(ctx, d, seal, nil)
	switch {
	case err != nil:
		return []Finding{{part, false, err.Error(), mend}}
	case h.Published == 0:
		return []Finding{{Part: part, OK: true, Detail: "none yet; authd serve makes the first"}}
	}
	findings := []Finding{{Part: part, OK: true, Detail: fmt.Sprintf("%d published, the active one opens", h.Published)}}
	if h.OldSeals > 0 {
		findings[0].Detail += fmt.Sprintf("; %d still sealed with a previous encryption key, which is needed until a worker has sealed them anew (within an hour)", h.OldSeals)
	}
	const startWorker = "no worker tends them: start one (authd serve, or authd serve --roles worker beside --roles api)"
	if !h.HasNext {
		findings = append(findings, Finding{part, false, "there is no next key that opens, so that no rotation can begin", startWorker})
	}
	if h.Overdue > tendedWithin {
		findings = append(findings, Finding{part, false, fmt.Sprintf("the time of a replaced key ended %s ago, and it is not retired", h.Overdue.Round(time.Minute)), startWorker})
	}
	if days := cfg.SigningKeys.RotationDays; days > 0 && h.Age > 2*time.Duration(days)*24*time.Hour {
		findings = append(findings, Finding{part, false,
			fmt.Sprintf("the active key has signed for %d days, and SIGNING_KEYS__ROTATION_DAYS is %d", int(h.Age.Hours()/24), days),
			startWorker + ", or rotate by hand: authd keys rotate"})
	}
	return findings
}
