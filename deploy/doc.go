// Package deploy has no code: its tests check what this folder and .github
// ship, with the parsers of the programs that will read it (tools/deploycheck).
package deploy
