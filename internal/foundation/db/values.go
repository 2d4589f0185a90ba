package db

import (
	"strconv"
	"strings"
)

// Values returns the placeholders of a multi-row INSERT: for 2 rows of 2
// columns "($1, $2), ($3, $4)".
func Values(rows, columns int) string {
	var b strings.Builder
	for i := range rows * columns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	b.WriteString(")")
	return b.String()
}
