package db

import (
	"strconv"
	"strings"
)

// Values returns the placeholders of a multi-row INSERT: for 2 rows of 2
// columns "($1, $2), ($3, $4)".
func Values(rows, columns int) string { return ValuesAfter(0, rows, columns) }

// ValuesAfter is Values in a statement that begins with as many rows of before
// columns: for 1 row of 2 columns after 1 of 3 "($4, $5)".
func ValuesAfter(before, rows, columns int) string {
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
		b.WriteString("$" + strconv.Itoa(before*rows+i+1))
	}
	b.WriteString(")")
	return b.String()
}
