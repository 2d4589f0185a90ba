package mail

import "time"

// Within makes the sender give up sooner.
func (s *SMTP) Within(d time.Duration) *SMTP {
	s.timeout = d
	return s
}
