package server

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

func rings(s secrets) []*secret.Ring { return []*secret.Ring{s.signingKeys, s.refresh, s.links} }

func same(a, b secrets) bool {
	return slices.EqualFunc(rings(a), rings(b), func(a, b *secret.Ring) bool { return bytes.Equal(a.KeyID(), b.KeyID()) })
}

func loaded(t *testing.T, cfg *config.Config, d *db.DB) secrets {
	t.Helper()
	s, err := loadSecrets(t.Context(), cfg, d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDevelopmentSecretsAreMadeOnceAndKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		cfg := settings(t, urlOf(t, d))
		first := loaded(t, cfg, d)
		if !same(first, loaded(t, cfg, d)) {
			t.Error("the next start makes others")
		}
		for i, r := range rings(first) {
			for _, other := range rings(first)[i+1:] {
				if bytes.Equal(r.KeyID(), other.KeyID()) {
					t.Error("two purposes share a key")
				}
			}
		}
	})
}

func TestTheSecretsFileIsForItsOwnerOnly(t *testing.T) {
	d := dbtest.SQLite(t)
	loaded(t, settings(t, urlOf(t, d)), d)
	path := filepath.Join(filepath.Dir(d.Path()), "secrets.json")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	if err := json.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{encryptionKey, refreshKey} {
		if len(values[name]) < 32 {
			t.Errorf("%s has %d characters", name, len(values[name]))
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".new") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestASecretsFileThatCannotBeReadIsLeftAsItIs(t *testing.T) {
	d := dbtest.SQLite(t)
	path := filepath.Join(filepath.Dir(d.Path()), "secrets.json")
	const broken = `{"SIGNING_KEYS__ENCRYPTION_KEY": "half of a`
	if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loadSecrets(t.Context(), settings(t, urlOf(t, d)), d, dbtest.Log)
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "half of") {
		t.Errorf("got %v, want the name of the file and nothing of its content", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != broken {
		t.Errorf("it holds %s now (%v)", text, err)
	}
}

func TestAConfiguredSecretWins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		made := loaded(t, settings(t, urlOf(t, d)), d)
		mine := "SIGNING_KEYS__ENCRYPTION_KEY=" + strings.Repeat("k", 32)
		both := loaded(t, settings(t, urlOf(t, d), mine), d)
		if bytes.Equal(both.signingKeys.KeyID(), made.signingKeys.KeyID()) {
			t.Error("the configured secret is not used")
		}
		if !bytes.Equal(both.refresh.KeyID(), made.refresh.KeyID()) {
			t.Error("the other one changed")
		}
	})
}

func TestReplicasAgreeOnDevelopmentSecrets(t *testing.T) {
	url := dbtest.PostgresURL(t)
	var all sync.WaitGroup
	list := make([]secrets, 10)
	for i := range list {
		d := dbtest.Open(t, url)
		cfg := settings(t, url)
		all.Go(func() {
			var err error
			if list[i], err = loadSecrets(t.Context(), cfg, d, dbtest.Log); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for i, s := range list {
		if !same(list[0], s) {
			t.Errorf("replica %d has other secrets than replica 0", i)
		}
	}
}

func TestSecretsAreNotMadeOutsideDevelopment(t *testing.T) {
	for _, environment := range []string{"staging", "production", ""} {
		t.Run(environment, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				cfg := &config.Config{App: config.App{Environment: environment}} // config.Load would refuse it
				_, err := loadSecrets(t.Context(), cfg, d, dbtest.Log)
				if err == nil || !strings.Contains(err.Error(), encryptionKey) || !strings.Contains(err.Error(), refreshKey) {
					t.Errorf("got %v, want an error that names both", err)
				}
				var n int
				if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM dev_secrets`).Scan(&n); err != nil || n != 0 {
					t.Errorf("%d were made (%v)", n, err)
				}
				if d.Engine() == db.SQLite {
					if _, err := os.Stat(filepath.Join(filepath.Dir(d.Path()), "secrets.json")); err == nil {
						t.Error("a file was made")
					}
				}
			})
		})
	}
}
