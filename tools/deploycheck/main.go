// Command deploycheck reads what deploy/ ships with the code of the programs
// that will read it, and prints as JSON what they see:
//
//	deploycheck compose compose.yaml        loaded as docker compose does
//	deploycheck chart [-set a.b=c] folder   rendered as helm does, decoded as Kubernetes does
//	deploycheck dockerfile Dockerfile       parsed as docker build does
//	deploycheck context file folder         what docker build sends, by a .dockerignore
//	deploycheck yaml file                   no more than YAML
//
// What any of them refuses is an error. The tests of deploy/ run it: it has a
// module of its own so that the server does not depend on Kubernetes.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: deploycheck compose|chart|dockerfile|context|yaml argument ...")
		os.Exit(2)
	}
	checks := map[string]func(args []string) (any, error){
		"compose": compose, "chart": chart, "dockerfile": dockerfile, "context": buildContext, "yaml": readYAML,
	}
	err := errors.New("no such check")
	if check, ok := checks[os.Args[1]]; ok {
		var seen any
		if seen, err = check(os.Args[2:]); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(seen)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "deploycheck %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func readYAML(args []string) (any, error) {
	text, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	var seen any
	return seen, yaml.Unmarshal(text, &seen)
}
