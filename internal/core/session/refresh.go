package session

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// A refresh token is "rt_" + base64url of
//
//	version(1) · key id(4) · session id(16) · generation(4) · branch(4) · MAC(32)
//
// The MAC makes it unforgeable; SQL stores only generation and branch, so a
// stolen database mints nothing and garbage is refused without touching it.
const (
	refreshPrefix  = "rt_"
	refreshVersion = 1
	refreshBody    = 1 + secret.IDLen + 16 + 4 + 4
	refreshLength  = refreshBody + secret.MACLen
)

type refreshToken struct {
	session    uuid.UUID
	generation int64
	branch     int64
}

func encodeRefresh(ring *secret.Ring, t refreshToken) string {
	b := make([]byte, 0, refreshLength)
	b = append(b, refreshVersion)
	b = append(b, ring.KeyID()...)
	b = append(b, t.session[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.generation))
	b = binary.BigEndian.AppendUint32(b, uint32(t.branch))
	b = append(b, ring.MAC(b)...)
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// decodeRefresh returns what a token with a good MAC says.
func decodeRefresh(ring *secret.Ring, s string) (refreshToken, bool) {
	var t refreshToken
	text, ok := strings.CutPrefix(s, refreshPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(refreshLength) {
		return t, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != refreshLength || b[0] != refreshVersion { // base64 skips line breaks
		return t, false
	}
	body, mac := b[:refreshBody], b[refreshBody:]
	if !ring.CheckMAC(body[1:1+secret.IDLen], body, mac) {
		return t, false
	}
	rest := body[1+secret.IDLen:]
	copy(t.session[:], rest[:16])
	t.generation = int64(binary.BigEndian.Uint32(rest[16:]))
	t.branch = int64(binary.BigEndian.Uint32(rest[20:]))
	return t, true
}

// rotation is the refresh state of a session: the generation and branch that
// are good now, the branch whose use made this generation, and when that was.
type rotation struct {
	generation int64
	branch     int64
	previous   int64
	at         time.Time
}

// verdict is what a refresh token with a good MAC leads to.
type verdict int

const (
	rotate verdict = iota // it is the current one: move on
	echo                  // it was used a moment ago: the same answer again
	retry                 // its answer was lost: a new branch, the old one dies
	theft                 // two holders: end the session
)

func (v verdict) String() string { return [...]string{"rotate", "echo", "retry", "theft"}[v] }

// decide is the whole refresh state machine. It returns the verdict and the
// state after it; echo and theft leave the state as it is.
//
// A holder who loses any number of answers is never logged out: the token
// before the current one always leads on. Holders who present one token within
// the grace get one successor. When two holders used one token further apart,
// the branch of the first is dead, and its use is theft.
func decide(s rotation, t refreshToken, now time.Time, grace time.Duration) (verdict, rotation) {
	switch {
	case t.generation == s.generation && t.branch == s.branch:
		return rotate, rotation{s.generation + 1, 0, s.branch, now}
	case t.generation == s.generation-1 && t.branch == s.previous && !now.After(s.at.Add(grace)):
		return echo, s
	case t.generation == s.generation-1 && t.branch == s.previous:
		return retry, rotation{s.generation, s.branch + 1, s.previous, now}
	default:
		return theft, s
	}
}
