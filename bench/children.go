package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/argon2"
	_ "modernc.org/sqlite" // registers "sqlite"
)

// hello is the HTTP ceiling: what net/http costs by itself.
func hello(address string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name   string `json:"name"`
			Number int    `json:"number"`
		}
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(in)
	}))
}

// operation does a part once; many may run at the same time.
type operation func(ctx context.Context) error

// ceiling answers lines of part and duration with the processor time of one
// operation, in microseconds, until its input ends.
func ceiling(ctx context.Context, dir, databaseURL string) error {
	operations, err := makeOperations(ctx, dir, databaseURL)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		name, length, _ := strings.Cut(in.Text(), "\t")
		d, err := time.ParseDuration(length)
		if err != nil {
			return err
		}
		micros, err := measure(ctx, operations[part(name)], d, concurrency(part(name), databaseURL))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(strconv.FormatFloat(micros, 'f', 4, 64))
	}
	return in.Err()
}

// concurrency: PostgreSQL is asked by as many connections as authd is; SQLite
// has one writer, and nothing else waits for anything.
func concurrency(p part, databaseURL string) int {
	if (p == readByKey || p == writeOne) && isPostgres(databaseURL) {
		return connections
	}
	return 1
}

func isPostgres(url string) bool { return strings.HasPrefix(url, "postgres") }

func measure(ctx context.Context, op operation, d time.Duration, n int) (micros float64, err error) {
	if op == nil {
		return 0, errors.New("there is no such part")
	}
	for end := time.Now().Add(d / 10); ; { // the memory that it needs is there, as in a server that is busy
		if err := op(ctx); err != nil {
			return 0, err
		}
		if !time.Now().Before(end) {
			break
		}
	}
	before, err := cpuTime(ownCPU)
	if err != nil {
		return 0, err
	}
	var done atomic.Int64
	var failed atomic.Value
	var running sync.WaitGroup
	for end := time.Now().Add(d); n > 0; n-- {
		running.Go(func() {
			for time.Now().Before(end) {
				if err := op(ctx); err != nil {
					failed.Store(err)
					return
				}
				done.Add(1)
			}
		})
	}
	running.Wait()
	after, err := cpuTime(ownCPU)
	if broken, _ := failed.Load().(error); broken != nil {
		return 0, broken
	}
	return float64((after - before).Nanoseconds()) / 1e3 / float64(max(done.Load(), 1)), err
}

func makeOperations(ctx context.Context, dir, databaseURL string) (map[part]operation, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("a token"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return nil, err
	}
	token, err := mint(key)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, 16)
	seen := map[[sha256.Size]byte]time.Time{sha256.Sum256([]byte(token)): time.Now().Add(time.Hour)}
	operations := map[part]operation{
		argon: func(context.Context) error { argon2.IDKey([]byte(password), salt, 2, 19456, 1, 32); return nil },
		sign: func(context.Context) error {
			_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
			return err
		},
		verify: func(context.Context) error {
			return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature)
		},
		jwtCheck: func(context.Context) error { return validate(&key.PublicKey, token, time.Now()) },
		cached: func(context.Context) error {
			if until, there := seen[sha256.Sum256([]byte(token))]; !there || until.Before(time.Now()) {
				return errors.New("the token is not there")
			}
			return nil
		},
	}
	store := sqliteOperations
	if isPostgres(databaseURL) {
		store = postgresOperations
	}
	operations[readByKey], operations[writeOne], err = store(ctx, dir, databaseURL)
	return operations, err
}

// claims as an access token of ours has them.
type claims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      []string `json:"aud"`
	ID            string   `json:"jti"`
	IssuedAt      int64    `json:"iat"`
	ExpiresAt     int64    `json:"exp"`
	Type          string   `json:"type"`
	ClientID      string   `json:"client_id"`
	SessionID     string   `json:"sid"`
	Epoch         int64    `json:"epoch"`
	Role          string   `json:"role"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	OTP           bool     `json:"email_otp_enabled"`
	AuthTime      int64    `json:"auth_time"`
	Scopes        []string `json:"scopes"`
}

func mint(key *rsa.PrivateKey) (string, error) {
	now := time.Now().Unix()
	const id = "019ab1c2-7d4e-7f00-8a55-0123456789ab"
	payload, err := json.Marshal(claims{
		Issuer: "http://127.0.0.1:8000", Subject: id, Audience: []string{"auth-service", "orders-api"}, ID: id, IssuedAt: now, ExpiresAt: now + 3600*24,
		Type: "access", ClientID: "auth-service", SessionID: id, Role: "user", Email: "user0000001@example.com", EmailVerified: true, AuthTime: now, Scopes: []string{},
	})
	if err != nil {
		return "", err
	}
	b := base64.RawURLEncoding
	signed := b.EncodeToString([]byte(`{"alg":"RS256","kid":"0123456789abcdef","typ":"at+jwt"}`)) + "." + b.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	return signed + "." + b.EncodeToString(signature), err
}

// validate checks a token with nothing but the standard library.
func validate(key *rsa.PublicKey, token string, now time.Time) error {
	head, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	b := base64.RawURLEncoding
	rawHead, err := b.DecodeString(head)
	if err != nil {
		return err
	}
	var h struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(rawHead, &h); err != nil {
		return err
	}
	if h.Alg != "RS256" || h.Typ != "at+jwt" {
		return errors.New("another kind of token")
	}
	rawSignature, err := b.DecodeString(signature)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(token[:len(head)+1+len(payload)]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], rawSignature); err != nil {
		return err
	}
	rawPayload, err := b.DecodeString(payload)
	if err != nil {
		return err
	}
	var c claims
	if err := json.Unmarshal(rawPayload, &c); err != nil {
		return err
	}
	if c.ExpiresAt < now.Unix() || c.Issuer == "" || len(c.Audience) == 0 {
		return errors.New("not good now")
	}
	return nil
}

// The table of the ceilings, with rows to read.
const (
	ceilingTable = `CREATE TABLE bench_ceiling (id BIGINT PRIMARY KEY, name TEXT NOT NULL, at BIGINT NOT NULL)`
	ceilingWrite = `INSERT INTO bench_ceiling (id, name, at) VALUES ($1, $2, $3)`
	ceilingRead  = `SELECT name, at FROM bench_ceiling WHERE id = $1`
	ceilingRows  = 1000
)

func sqliteOperations(ctx context.Context, dir, _ string) (read, write operation, err error) {
	d, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "ceiling.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, nil, err
	}
	d.SetMaxOpenConns(1)
	if _, err := d.ExecContext(ctx, ceilingTable); err != nil {
		return nil, nil, err
	}
	insert, err := d.PrepareContext(ctx, ceilingWrite)
	if err != nil {
		return nil, nil, err
	}
	query, err := d.PrepareContext(ctx, ceilingRead)
	if err != nil {
		return nil, nil, err
	}
	return storeOperations(ctx,
		func(ctx context.Context, id int64) error {
			_, err := insert.ExecContext(ctx, id, "a name of some length", id)
			return err
		},
		func(ctx context.Context, id int64) error {
			var name string
			return query.QueryRowContext(ctx, id).Scan(&name, new(int64))
		})
}

func postgresOperations(ctx context.Context, _, url string) (read, write operation, err error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	if _, err := pool.Exec(ctx, ceilingTable); err != nil {
		return nil, nil, err
	}
	return storeOperations(ctx, // pgx prepares each statement once for a connection
		func(ctx context.Context, id int64) error {
			_, err := pool.Exec(ctx, ceilingWrite, id, "a name of some length", id)
			return err
		},
		func(ctx context.Context, id int64) error {
			var name string
			return pool.QueryRow(ctx, ceilingRead, id).Scan(&name, new(int64))
		})
}

func storeOperations(ctx context.Context, insert, query func(context.Context, int64) error) (read, write operation, err error) {
	var last, at atomic.Int64
	write = func(ctx context.Context) error { return insert(ctx, last.Add(1)) }
	for range ceilingRows {
		if err := write(ctx); err != nil {
			return nil, nil, err
		}
	}
	return func(ctx context.Context) error { return query(ctx, 1+at.Add(7919)%ceilingRows) }, write, nil
}
