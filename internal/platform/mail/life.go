package mail

import (
	"fmt"
	"time"
)

// Life says a duration as people do: 24 hours, 30 minutes.
func Life(d time.Duration) string {
	n, unit := int(d.Hours()), "hour"
	if d < time.Hour || d%time.Hour != 0 {
		n, unit = max(int(d.Minutes()), 1), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
