package engines_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

func TestMain(m *testing.M) {
	if os.Getenv(mortalVariable) != "" {
		os.Exit(mortal())
	}
	os.Exit(m.Run())
}

func TestVariablesChooseTheServer(t *testing.T) {
	kinds := []struct {
		variable string
		choose   func() (string, error)
	}{
		{engines.PostgresVariable, engines.Postgres},
		{engines.RedisVariable, engines.Redis},
	}
	for _, kind := range kinds {
		t.Run(kind.variable, func(t *testing.T) {
			t.Setenv("CI", "")
			t.Setenv(kind.variable, "scheme://elsewhere")
			if got, err := kind.choose(); got != "scheme://elsewhere" || err != nil {
				t.Errorf("set to a URL: got %q, %v", got, err)
			}
			t.Setenv(kind.variable, "off")
			if _, err := kind.choose(); !errors.Is(err, engines.ErrLeftOut) {
				t.Errorf("set to off: got error %v, want ErrLeftOut", err)
			}
			t.Setenv("CI", "true")
			_, err := kind.choose()
			if err == nil || errors.Is(err, engines.ErrLeftOut) || !strings.Contains(err.Error(), "CI is set") {
				t.Errorf("set to off in CI: got error %v, want one that is not ErrLeftOut and names CI", err)
			}
		})
	}
}

func TestOnePrivateServerServesTheProcess(t *testing.T) {
	skipIfLeftOut(t, engines.PostgresVariable)
	skipIfLeftOut(t, engines.RedisVariable)
	t.Setenv(engines.PostgresVariable, "")
	t.Setenv(engines.RedisVariable, "")
	for _, choose := range []func() (string, error){engines.Postgres, engines.Redis} {
		first, err := choose()
		if err != nil {
			t.Fatal(err)
		}
		if second, err := choose(); second != first || err != nil {
			t.Errorf("second call: got %q, %v, want %q again", second, err, first)
		}
		if version, err := engines.Version(first); version == "" || err != nil {
			t.Errorf("Version(%q) = %q, %v", first, version, err)
		}
	}
}

func TestVersionToleratesWhatItCannotRead(t *testing.T) {
	for _, unreadable := range []string{"host=/run/postgresql dbname=x", "rediss://127.0.0.1:1"} {
		if version, err := engines.Version(unreadable); version != "" || err != nil {
			t.Errorf("Version(%q) = %q, %v, want neither", unreadable, version, err)
		}
	}
	_, err := engines.Version("postgres://someone:hunter2@127.0.0.1:1/db")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("nobody listens: got error %v, want one without the password", err)
	}
}

func skipIfLeftOut(t *testing.T, variable string) {
	t.Helper()
	if os.Getenv(variable) == "off" && os.Getenv("CI") == "" {
		t.Skipf("%s=off", variable)
	}
}
