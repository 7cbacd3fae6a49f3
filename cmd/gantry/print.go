package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
)

// print writes v as --output asks: as JSON or YAML for programs, or through
// table for people. The JSON and YAML keys are those of v's json tags.
func (a *app) print(v any, table func(w io.Writer) error) error {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Slice && r.IsNil() {
		v = []any{} // an empty list, not null
	}
	switch a.output {
	case "json":
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		encoded, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("print as YAML: %w", err)
		}
		text, err := yaml.JSONToYAML(encoded)
		if err != nil {
			return fmt.Errorf("print as YAML: %w", err)
		}
		_, err = a.out.Write(text)
		return err
	}
	return table(a.out)
}

// done is what a command that has nothing to show did, for programs.
type done struct {
	Done   string `json:"done"`   // past tense: "deleted"
	Kind   string `json:"kind"`   // of what: "machine"
	Target string `json:"target"` // its name
}

// did says that something was done: "machine m1: deleted" to people.
func (a *app) did(what, kind, target string) error {
	return a.print(done{Done: what, Kind: kind, Target: target}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s: %s\n", kind, target, what)
		return err
	})
}

// printTable writes rows under a header in aligned columns.
func printTable(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}
