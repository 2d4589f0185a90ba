package password

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// DenyList is a set of passwords that nobody may choose, read from a file of
// one of two forms:
//
//   - plain: one password a line, in UTF-8. It bars the password as it stands,
//     and those that become it in lower case: "password1!" bars "Password1!".
//   - HIBP, of haveibeenpwned.com: the SHA-1 of a password in hex and, if one
//     likes, how often it was seen (5BAA…FD8:10434004).
//
// Kept is a fingerprint of 32 bits of each, in a table that is at most four
// fifths full: 5 bytes a password (1,000,000 take 5 MB, the whole HIBP list of
// a thousand million would take 5 GB), and one look into memory. A password
// that is not in the list is taken for one in it with a probability of 3 in
// 1,000,000,000: some 13 fingerprints are compared. A Bloom filter of 3.6 bytes
// a password has 1 in 1,000,000, and 20 looks into memory.
type DenyList struct {
	plain bool
	slots []uint32 // 0 is free
	taken int
}

// has reports whether a normalised password is in the list.
func (d *DenyList) has(password string) bool {
	if d == nil {
		return false
	}
	return d.holds(keyOf(password)) || d.plain && d.holds(keyOf(strings.ToLower(password)))
}

// keyOf is the start of the SHA-1, which spreads evenly.
func keyOf(password string) uint64 {
	sum := sha1.Sum([]byte(password))
	return binary.BigEndian.Uint64(sum[:])
}

func (d *DenyList) holds(key uint64) bool {
	_, there := d.find(key)
	return there
}

// find returns the slot of a key: where it is, or where it would be put.
func (d *DenyList) find(key uint64) (slot uint64, there bool) {
	mark := mark(key)
	slot, _ = bits.Mul64(key, uint64(len(d.slots))) // the upper bits choose the slot
	for d.slots[slot] != 0 {
		if d.slots[slot] == mark {
			return slot, true
		}
		if slot++; slot == uint64(len(d.slots)) {
			slot = 0
		}
	}
	return slot, false
}

// mark is what a slot holds of a key: its lower bits.
func mark(key uint64) uint32 { return max(1, uint32(key)) }

func (d *DenyList) add(key uint64) {
	if slot, there := d.find(key); !there {
		d.slots[slot] = mark(key)
		d.taken++
	}
}

// OpenDenyList reads a list. It goes through the file twice, to count the lines
// and to keep them, and holds none of it. Errors say what is wrong with the
// file and never what is in it.
func OpenDenyList(path string) (*DenyList, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would wait for a writer
	if err != nil {
		return nil, errors.Unwrap(err) // without the path: the caller knows it
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer file.Close()
	return readDenyList(file)
}

func readDenyList(file io.ReadSeeker) (*DenyList, error) {
	lines, form := 0, form(0)
	err := eachLine(file, func(line []byte) (err error) {
		if lines++; lines == 1 {
			form, err = formOf(line)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if lines == 0 {
		return nil, errors.New("it is empty")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	d := &DenyList{plain: form == plain, slots: make([]uint32, lines+lines/4+1)}
	foreign, seen := 0, 0
	err = eachLine(file, func(line []byte) error {
		if seen++; seen > lines {
			return errors.New("the file changed while it was read")
		}
		if form == plain && !utf8.Valid(line) { // nobody can choose it
			foreign++
			return nil
		}
		key, err := form.key(line)
		if err == nil {
			d.add(key)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case d.taken == 0:
		return nil, errors.New("it is not text in UTF-8")
	case foreign > lines/2:
		return nil, errors.New("most of it is not text in UTF-8")
	}
	return d, nil
}

// mostLine is far longer than any password or hash.
const mostLine = 4096

// eachLine calls do with each line that is not empty, without its end.
func eachLine(file io.Reader, do func(line []byte) error) error {
	in := bufio.NewReaderSize(file, 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if len(line) > mostLine {
			return fmt.Errorf("line %d is longer than %d bytes", n, mostLine)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) > 0 {
			if err := do(line); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// form is how a list is written.
type form int

const (
	plain form = iota
	hibp
)

// formOf tells the form of a list by its first line, and refuses those that
// look like a list of passwords but are of something else.
func formOf(line []byte) (form, error) {
	digits, count, counted := bytes.Cut(line, []byte(":"))
	if !isHex(digits) || counted && !isCount(count) {
		return plain, nil
	}
	switch {
	case len(digits) == 2*sha1.Size:
		return hibp, nil
	case len(digits) == 32 && counted:
		return plain, errors.New("it holds NTLM hashes: get the list of SHA-1 hashes")
	case len(digits) == 35 && counted:
		return plain, errors.New("it holds the ends of hashes only: get the list as one file")
	}
	return plain, nil
}

// key reads a line.
func (f form) key(line []byte) (uint64, error) {
	if f == plain {
		if bytes.IndexByte(line, 0) >= 0 {
			return 0, errors.New("it holds a NUL, so it is not text in UTF-8")
		}
		return keyOf(norm.NFC.String(string(line))), nil
	}
	digits, count, counted := bytes.Cut(line, []byte(":"))
	if len(digits) != 2*sha1.Size || !isHex(digits) || counted && !isCount(count) {
		return 0, errors.New("it is not a SHA-1 in hex and a count, as the first line is")
	}
	var start [8]byte
	hex.Decode(start[:], digits[:16]) // isHex: it cannot fail
	return binary.BigEndian.Uint64(start[:]), nil
}

func isHex(s []byte) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func isCount(s []byte) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) > 0
}
