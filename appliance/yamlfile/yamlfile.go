// Package yamlfile decodes the YAML files that people write for an appliance.
// What always holds: a key that nobody knows, a key given twice, and a second
// document that nobody would read are errors that name the line, and no file
// makes the program fall over.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Decode decodes b into v and leaves what b does not name as it is; an empty
// file changes nothing. An error begins with [LINE:COLUMN] and does not quote the
// file, where secrets may be beside a mistake.
func Decode(b []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder panics on some files that are no YAML
			err = errors.New("it is not YAML")
		}
	}()
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return at(err)
	}
	docs := slices.DeleteFunc(file.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil || d.Body.Type() == ast.CommentType })
	switch len(docs) {
	case 0:
		return nil // decoding nothing would clear v
	case 1:
	default:
		return errors.New("it has more than one YAML document, and only one is read")
	}
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.DisallowUnknownField()).Decode(v); err != nil {
		return at(err)
	}
	return nil
}

func at(err error) error {
	return fmt.Errorf("at line and column %s", yaml.FormatError(err, false, false))
}
