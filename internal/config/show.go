package config

import (
	"strings"
	"text/tabwriter"
)

// Line is one setting as it is in force, with secrets masked.
type Line struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Source  string `json:"source"` // env, .env, file or default
	Planned bool   `json:"planned,omitempty"`
}

// Lines is every setting; as text it is a table, as JSON a list of objects.
type Lines []Line

// Show returns the settings in force and where each came from.
func (c *Config) Show() Lines {
	var lines Lines
	for _, s := range settings(c) {
		lines = append(lines, Line{s.name, s.text(), c.sources[s.name], s.planned()})
	}
	return lines
}

func (l Lines) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { w.Write([]byte(strings.Join(cells, "\t") + "\n")) }
	row("NAME", "VALUE", "SOURCE")
	for _, line := range l {
		source := line.Source
		if line.Planned {
			source += " (not used by this version yet)"
		}
		row(line.Name, line.Value, source)
	}
	w.Flush()
	return b.String()
}
