package userimport

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Form is how a file is written.
type Form int

// The forms. Guess looks at the first character.
const (
	Guess Form = iota
	CSV
	JSONLines
)

// FormOf tells the form of a file by the ending of its name.
func FormOf(name string) Form {
	switch strings.ToLower(path.Ext(name)) {
	case ".csv":
		return CSV
	case ".jsonl", ".ndjson":
		return JSONLines
	}
	return Guess
}

// row is an account to add.
type row struct {
	line  int
	user  user.User
	hasID bool // the file gave the id
	hash  string
}

// record is a line as it is written, before it is checked.
type record struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Hash     string `json:"hash"`
	Role     string `json:"role"`
	Verified *bool  `json:"verified"`
	// The name that the API gives it.
	EmailVerified *bool `json:"email_verified"`
}

// source reads a file line by line: none of the values holds a line break, and a quote
// that is never closed then spoils one line and not the rest of the file.
type source struct {
	in      *bufio.Reader
	line    int
	columns []string // CSV
}

// mostLine is far longer than the longest address, hash and id together.
const mostLine = 4096

var errTooLong = fmt.Errorf("is longer than %d bytes", mostLine)

// open finds out the form of a file and reads its head.
func open(file io.Reader, form Form) (*source, error) {
	s := &source{in: bufio.NewReaderSize(file, mostLine+2)} // a line and its end
	if mark, _ := s.in.Peek(3); bytes.Equal(mark, []byte("\uFEFF")) {
		s.in.Discard(3)
	}
	if form == Guess {
		form = CSV
		if first, _ := s.in.Peek(1); len(first) == 1 && first[0] == '{' {
			form = JSONLines
		}
	}
	if form == JSONLines {
		return s, nil
	}
	head, err := s.next()
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("line %d %w", s.line, err)
	}
	return s, s.readHead(head)
}

// names are the columns of a CSV file.
var names = []string{"id", "email", "hash", "verified", "role"}

func (s *source) readHead(head string) error {
	const mend = "the first line must name the columns, separated by commas: email, hash and, if you like, id, verified, role"
	fields, err := fields(head)
	if err != nil || head == "" {
		return errors.New(mend)
	}
	for i, name := range fields {
		name = strings.ToLower(name)
		if name == "email_verified" {
			name = "verified"
		}
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s; column %d is none of these", mend, i+1)
		}
		if slices.Contains(s.columns, name) {
			return fmt.Errorf("%s; column %d is there twice", mend, i+1)
		}
		s.columns = append(s.columns, name)
	}
	if !slices.Contains(s.columns, "email") || !slices.Contains(s.columns, "hash") {
		return errors.New(mend)
	}
	return nil
}

// next returns a line without its end, or io.EOF. After errTooLong one may go
// on.
func (s *source) next() (string, error) {
	line, err := s.in.ReadSlice('\n')
	if err == io.EOF && len(line) == 0 {
		return "", io.EOF
	}
	s.line++
	text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
	if err != bufio.ErrBufferFull && len(text) <= mostLine {
		if err == io.EOF { // the last line needs no end
			err = nil
		}
		return text, err
	}
	for err == bufio.ErrBufferFull {
		_, err = s.in.ReadSlice('\n')
	}
	if err == nil || err == io.EOF {
		err = errTooLong
	}
	return "", err
}

// fill reads up to batchSize lines; more is false at the end of the file. Blank
// lines do not count.
func (s *source) fill(b *batch) (more bool, err error) {
	for len(b.rows)+len(b.refusals) < batchSize {
		text, err := s.next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil && err != errTooLong {
			return false, err
		}
		if err == nil && strings.TrimSpace(text) == "" {
			continue
		}
		var r row
		if err == nil {
			r, err = s.parse(text)
		}
		if err != nil {
			b.refusals = append(b.refusals, Refusal{s.line, err.Error()})
			continue
		}
		r.line = s.line
		b.rows = append(b.rows, r)
	}
	return true, nil
}

// parse reads and checks a line. The error follows "line 7: ".
func (s *source) parse(line string) (r row, err error) {
	if !utf8.ValidString(line) {
		return r, errors.New("is not text in UTF-8")
	}
	var rec record
	if s.columns == nil {
		err = rec.fromJSON(line)
	} else {
		err = rec.fromCSV(s.columns, line)
	}
	if err != nil {
		return r, err
	}
	return rec.check()
}

// fields splits a line of CSV.
func fields(line string) ([]string, error) {
	if !strings.Contains(line, `"`) {
		list := strings.Split(line, ",")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list, nil
	}
	in := csv.NewReader(strings.NewReader(line))
	in.TrimLeadingSpace = true
	list, err := in.Read()
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list, err
}

func (rec *record) fromCSV(columns []string, line string) error {
	values, err := fields(line)
	if err != nil {
		return errors.New("is not CSV: mend its quotes")
	}
	if len(values) != len(columns) {
		return fmt.Errorf("has %d fields and the first line has %d: put quotes around a hash with commas", len(values), len(columns))
	}
	for i, value := range values {
		switch columns[i] {
		case "id":
			rec.ID = value
		case "email":
			rec.Email = value
		case "hash":
			rec.Hash = value
		case "role":
			rec.Role = value
		case "verified":
			verified, known := truths[strings.ToLower(value)]
			if !known {
				return errors.New("verified must be true or false")
			}
			rec.Verified = &verified
		}
	}
	return nil
}

// truths are the ways in which other systems write true and false.
var truths = map[string]bool{
	"true": true, "t": true, "yes": true, "1": true,
	"false": false, "f": false, "no": false, "0": false, "": false,
}

func (rec *record) fromJSON(line string) error {
	in := json.NewDecoder(strings.NewReader(line))
	in.DisallowUnknownFields()
	err := in.Decode(rec)
	if err == nil {
		_, err = in.Token()
	}
	if err != io.EOF || !strings.HasPrefix(strings.TrimSpace(line), "{") {
		return errors.New(`is not a JSON object such as {"id": "…", "email": "…", "hash": "…", "verified": true, "role": "user"}`)
	}
	return nil
}

// check holds a record against the rules of accounts.
func (rec *record) check() (r row, err error) {
	r.user = user.User{Role: rec.Role, Active: true}
	switch {
	case rec.ID == "":
		r.user.ID = uuid.Must(uuid.NewV7())
	case len(rec.ID) != 36:
		err = errors.New("id must be a UUID")
	default:
		r.hasID = true
		if r.user.ID, err = uuid.Parse(rec.ID); err != nil || r.user.ID == uuid.Nil {
			err = errors.New("id must be a UUID")
		}
	}
	if err != nil {
		return r, err
	}
	if r.user.Email, err = user.ParseEmail("email", rec.Email); err != nil {
		return r, errors.New("email " + fault.From(err).Fields[0].Message)
	}
	if rec.Hash != "" && !secret.Recognised(rec.Hash) {
		return r, errors.New("hash must be Argon2id in PHC form, or bcrypt ($2a$, $2b$, $2y$) of a cost up to 16, or empty")
	}
	r.hash = rec.Hash
	for _, verified := range []*bool{rec.Verified, rec.EmailVerified} {
		r.user.EmailVerified = r.user.EmailVerified || verified != nil && *verified
	}
	if rec.Verified != nil && rec.EmailVerified != nil && *rec.Verified != *rec.EmailVerified {
		return r, errors.New("verified and email_verified differ")
	}
	switch rec.Role {
	case "":
		r.user.Role = user.RoleUser
	case user.RoleUser, user.RoleAdmin, "service":
	default:
		return r, errors.New("role must be user, admin or service")
	}
	return r, nil
}
