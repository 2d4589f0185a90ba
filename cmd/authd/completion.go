package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run implements the command. It prints a script that completes the words of
// every command.
func (c *completionCmd) Run(e *env, k *kong.Kong) error {
	words := map[string][]string{} // after these commands → these words
	for _, leaf := range k.Model.Leaves(true) {
		path := strings.Fields(leaf.Path())
		for i, word := range path {
			if strings.HasPrefix(word, "<") {
				break
			}
			at := strings.Join(path[:i], " ")
			if !strings.Contains(" "+strings.Join(words[at], " ")+" ", " "+word+" ") {
				words[at] = append(words[at], word)
			}
		}
		for _, flag := range leaf.Flags {
			at := commandPath(leaf)
			words[at] = append(words[at], "--"+flag.Name)
		}
	}
	if c.Shell == "fish" {
		for _, at := range slices.Sorted(maps.Keys(words)) {
			condition := "__fish_use_subcommand"
			if at != "" {
				condition = "__fish_seen_subcommand_from " + lastWord(at)
			}
			fmt.Fprintf(e.out, "complete -c authd -f -n '%s' -a '%s'\n", condition, strings.Join(words[at], " "))
		}
		return nil
	}
	if c.Shell == "zsh" {
		fmt.Fprintln(e.out, "autoload -U +X bashcompinit && bashcompinit")
	}
	fmt.Fprintln(e.out, "_authd() {\n  local at=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" words=\"\"\n  case \"$at\" in")
	for _, at := range slices.Sorted(maps.Keys(words)) {
		fmt.Fprintf(e.out, "    %q) words=%q ;;\n", at, strings.Join(words[at], " "))
	}
	fmt.Fprintln(e.out, "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -F _authd authd")
	return nil
}

// commandPath is the words that name a command, without its arguments.
func commandPath(n *kong.Node) string {
	var path []string
	for _, word := range strings.Fields(n.Path()) {
		if !strings.HasPrefix(word, "<") {
			path = append(path, word)
		}
	}
	return strings.Join(path, " ")
}

func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }
