package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type stage struct {
	Name, Base   string
	Instructions []instruction
}

type instruction struct {
	Name string // in capitals: RUN
	Text string // as written, on one line
	// The command of RUN, the sources and the destination of COPY, the
	// assignments of ENV.
	Args []string `json:",omitempty"`
}

// dockerfile lists the stages; the complaints of docker build --check are
// errors.
func dockerfile(args []string) (any, error) {
	file, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return nil, err
	}
	var complaints []error
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, detail string, _ []parser.Range) {
		complaints = append(complaints, errors.New(rule+": "+detail))
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return nil, err
	}
	var seen []stage
	for _, s := range stages {
		out := stage{Name: s.Name, Base: s.BaseName}
		for _, c := range s.Commands {
			out.Instructions = append(out.Instructions, describe(c))
		}
		seen = append(seen, out)
	}
	return seen, errors.Join(complaints...)
}

func describe(c instructions.Command) instruction {
	i := instruction{Name: c.Name()}
	if written, ok := c.(interface{ String() string }); ok {
		i.Text = written.String()
	}
	switch c := c.(type) {
	case *instructions.RunCommand:
		i.Args = c.CmdLine
	case *instructions.CopyCommand:
		i.Args = append(c.SourcePaths, c.DestPath)
	case *instructions.EnvCommand:
		for _, pair := range c.Env {
			i.Args = append(i.Args, pair.Key+"="+pair.Value)
		}
	}
	return i
}

// buildContext lists the files of a folder that the .dockerignore lets through.
func buildContext(args []string) (any, error) {
	if len(args) != 2 {
		return nil, errors.New("which .dockerignore, which folder?")
	}
	file, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	var sent []string
	err = fs.WalkDir(os.DirFS(args[1]), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if entry != nil && entry.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		out, err := ignored.MatchesOrParentMatches(name)
		if err == nil && !out {
			sent = append(sent, name)
		}
		return err
	})
	return sent, err
}
