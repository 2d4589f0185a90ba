package session

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

const grace = 10 * time.Second

// coverage counts what a property has tried. A property whose generator never
// reaches a verdict proves nothing about it.
type coverage map[verdict]int

func (c coverage) mustReach(t *testing.T, verdicts ...verdict) {
	t.Helper()
	for _, v := range verdicts {
		if c[v] < 20 {
			t.Errorf("%v was reached %d times: the generator is blind (%v)", v, c[v], c)
		}
	}
}

// game is a session with its clock, and the holders of its refresh tokens as
// the properties below move them.
type game struct {
	*rapid.T
	state rotation
	id    uuid.UUID
	now   time.Time
	seen  coverage
}

func newGame(t *rapid.T, seen coverage) *game {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &game{T: t, state: rotation{at: now}, id: uuid.UUID{1}, now: now, seen: seen}
}

func (g *game) first() refreshToken { return refreshToken{session: g.id} }

// present uses a token and returns its successor, unless that is theft.
func (g *game) present(t refreshToken) (refreshToken, verdict) {
	what, next := decide(g.state, t, g.now, grace)
	if (what == echo || what == theft) && next != g.state {
		g.Fatalf("%v changes the state", what)
	}
	if what == rotate && next != (rotation{g.state.generation + 1, 0, t.branch, g.now}) {
		g.Fatalf("a rotation leads from %+v to %+v", g.state, next)
	}
	g.state = next
	g.seen[what]++
	return refreshToken{g.id, next.generation, next.branch}, what
}

var waits = []time.Duration{
	0, time.Microsecond, grace / 3, grace - time.Microsecond, grace, grace + time.Microsecond, 2 * grace, 15 * time.Minute,
}

func (g *game) wait(label string) { g.now = g.now.Add(rapid.SampledFrom(waits).Draw(g.T, label)) }

func (g *game) waitBeyondTheGrace(label string) {
	g.now = g.now.Add(grace + time.Microsecond)
	g.wait(label)
}

func (g *game) yes(label string) bool { return rapid.Bool().Draw(g.T, label) }

// (a) One holder who loses any number of answers is never logged out.
func TestAHolderWhoLosesAnswersIsNeverLoggedOut(t *testing.T) {
	seen := coverage{}
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t, seen)
		holds := g.first()
		for range rapid.IntRange(1, 30).Draw(t, "uses") {
			g.wait("wait")
			next, what := g.present(holds)
			if what == theft {
				t.Fatalf("logged out with %+v in %+v", holds, g.state)
			}
			if g.yes("the answer arrives") {
				holds = next
			}
		}
	})
	seen.mustReach(t, rotate, echo, retry)
}

// (b) Holders who present one token within the grace of each other are never
// logged out by it, and all get one successor. A holder who missed it takes the
// token from another, as tabs of one browser do.
func TestHoldersWithinTheGraceAreNeverLoggedOut(t *testing.T) {
	seen := coverage{}
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t, seen)
		shared := g.first()
		for range rapid.IntRange(1, 10).Draw(t, "rounds") {
			g.wait("until the first")
			successor, what := g.present(shared)
			end := g.state.at.Add(grace)
			arrived := g.yes("the first answer arrives")
			for what != theft && g.yes("one more presents the token") {
				if wait := rapid.SampledFrom(waits).Draw(t, "after"); !g.now.Add(wait).After(end) {
					g.now = g.now.Add(wait)
				}
				var next refreshToken
				if next, what = g.present(shared); next != successor && what != theft {
					t.Fatalf("one got %+v, another %+v", successor, next)
				}
				arrived = g.yes("its answer arrives") || arrived
			}
			if what == theft {
				t.Fatalf("logged out in %+v", g.state)
			}
			if arrived {
				shared = successor
			}
		}
	})
	seen.mustReach(t, rotate, echo, retry)
}

// (c) When two holders used one token more than the grace apart, the next use
// by the displaced one ends the session.
func TestTheDisplacedOfTwoHoldersEndsTheSession(t *testing.T) {
	seen := coverage{}
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t, seen)
		shared := g.first()
		use := func(token *refreshToken, label string) {
			g.wait("before " + label)
			next, what := g.present(*token)
			if what == theft {
				t.Fatalf("%s: theft too early, in %+v", label, g.state)
			}
			if g.yes("the answer of " + label + " arrives") {
				*token = next
			}
		}
		for range rapid.IntRange(0, 5).Draw(t, "uses before the copy") {
			use(&shared, "the owner")
		}

		g.wait("before the one")
		one, what := g.present(shared)
		if what == theft {
			t.Fatalf("theft before there were two, in %+v", g.state)
		}
		moved := rapid.IntRange(0, 3).Draw(t, "uses by the one")
		for range moved {
			use(&one, "the one")
		}
		g.waitBeyondTheGrace("before the other")
		// The one cannot be told from the other by what it has not used yet.
		other, what := g.present(shared)
		if moved > 0 { // the other's token is two behind: it is the displaced one
			if what != theft {
				t.Fatalf("%v, though the one has moved on to %+v", what, g.state)
			}
			return
		}
		if what != retry || other == one {
			t.Fatalf("%v gives %+v, where the one holds %+v", what, other, one)
		}
		for range rapid.IntRange(0, 3).Draw(t, "uses by the other") {
			use(&other, "the other")
		}
		g.wait("before the displaced one returns")
		if _, what := g.present(one); what != theft {
			t.Fatalf("%v for the displaced one, in %+v", what, g.state)
		}
	})
	seen.mustReach(t, rotate, echo, retry, theft)
}

// Any interleaving of any holders, against the rule in words: tokens are opaque
// here, and only the last one handed out, the one it was handed out for, and
// when that was matter.
func TestAnyInterleavingFollowsTheRule(t *testing.T) {
	seen := coverage{}
	rapid.Check(t, func(t *rapid.T) {
		g := newGame(t, seen)
		newest, parent, at := g.first(), refreshToken{}, g.now
		issued := map[refreshToken]bool{newest: true}
		holders := []refreshToken{newest, newest}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, len(holders)-1).Draw(t, "holder")
			if rapid.IntRange(0, 9).Draw(t, "tenth") == 0 && len(holders) < 4 {
				holders = append(holders, holders[i]) // a copy is taken
				continue
			}
			g.wait("wait")
			token := holders[i]
			want := theft
			switch {
			case token == newest:
				want = rotate
			case token == parent && g.now.Sub(at) <= grace:
				want = echo
			case token == parent:
				want = retry
			}
			got, what := g.present(token)
			if what != want {
				t.Fatalf("%v for %+v, want %v; newest %+v, made for %+v", what, token, want, newest, parent)
			}
			if what == theft {
				return
			}
			if fresh := !issued[got]; fresh != (what != echo) || what == echo && got != newest {
				t.Fatalf("%v hands out %+v, new %t; newest %+v", what, got, fresh, newest)
			}
			if what != echo {
				newest, parent, at = got, token, g.now
				issued[got] = true
			}
			if rapid.IntRange(0, 3).Draw(t, "quarter") > 0 { // else the answer is lost
				holders[i] = got
			}
		}
	})
	seen.mustReach(t, rotate, echo, retry, theft)
}

// The clock of one replica may be behind that of the one that rotated.
func TestAClockThatIsBehindMakesNoThief(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	used := refreshToken{session: uuid.UUID{1}}
	_, state := decide(rotation{at: now}, used, now, grace)
	if what, _ := decide(state, used, now.Add(-time.Hour), grace); what != echo {
		t.Errorf("%v, want the same answer again", what)
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	for v, want := range map[verdict]string{rotate: "rotate", echo: "echo", retry: "retry", theft: "theft"} {
		if v.String() != want {
			t.Errorf("%q, want %q", v, want)
		}
	}
}
