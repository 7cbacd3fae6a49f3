// Package gantry_test holds the layout of the tree: which folder may import
// which, and that everything public is documented.
package gantry_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gantry-pod/gantry/"

// arrows are the only imports between top-level folders, each with its reason.
// A folder may always import what is below itself.
var arrows = map[string]map[string]string{
	"cmd": {
		"appliance": "a main builds its daemon", "lab": "gantry lab is a command", "drivers": "each shipped driver has a main",
		"netboot": "gantry-netboot is a main", "plugins": "a driver's main serves the contract", "images": "the command line imports images",
	},
	"appliance": {
		"pxe": "it serves what machines boot from", "images": "it has the library", "store": "it keeps state", "plugins": "it hosts drivers",
		"netboot/job": "the wire contract with the agent", "federation": "the uplink's contract",
	},
	"pxe":     {"store": "leases are kept"},
	"drivers": {"plugins": "a driver is nothing but a plugin"},
	"netboot": {"images/format": "it writes images"},
	"images":  {},
	"plugins": {},
	"store":   {},
	"lab":     {"netboot/job": "the soak's machines speak the agent's protocol"},

	"lab/soak": {"netboot/job": "its machines speak the agent's protocol", "netboot/agent": "with the agent's own client and worker", "netboot/write": "and its own image writer: an imitation would hide their faults"},

	// A program that measures a folder may use who uses it.
	"images/bench": {"netboot/write": "the writer is what is measured", "netboot/job": "its request's words"},
}

// testArrows are what the tests of a folder may import beside that: the real
// thing on the other side of a contract, rather than an imitation of it.
var testArrows = map[string]map[string]string{
	"drivers/pdu/snmp": {"lab/pdu": "the lab's PDU is an agent that this driver did not write"},
	"images/library":   {"netboot/write": "what it serves is written by the agent's writer", "netboot/job": "its request's words"},
	"lab":              {"appliance": "what it writes for the appliance must be what the appliance takes"},
}

// allowedOf finds the row of a package: its own, or its nearest parent's.
func allowedOf(from string) (map[string]string, bool) {
	for {
		if row, ok := arrows[from]; ok {
			return row, true
		}
		i := strings.LastIndexByte(from, '/')
		if i < 0 {
			return nil, false
		}
		from = from[:i]
	}
}

// listed is what `go list` says of a package.
type listed struct {
	ImportPath string
	Imports    []string
	// TestImports and XTestImports are those of its tests, in and beside it.
	TestImports, XTestImports []string
}

func list(t *testing.T) (all []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-tags", "qemu fullimage", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestArrows(t *testing.T) {
	for _, p := range list(t) {
		from, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue // the module's root has this test only
		}
		top, _, _ := strings.Cut(from, "/")
		allowed, known := allowedOf(from)
		if !known {
			t.Errorf("%s: folder %s has no place in the design; see docs/ARCHITECTURE.md", p.ImportPath, top)
			continue
		}
		for _, path := range forbidden(top, p.Imports, allowed) {
			t.Errorf("%s imports %s, which %s must not", from, path, top)
		}
		for _, path := range forbidden(top, slices.Concat(p.TestImports, p.XTestImports), allowed, testArrows[from]) {
			t.Errorf("a test of %s imports %s, which %s must not", from, path, top)
		}
	}
}

// forbidden returns which of a package's imports none of the rows allows.
func forbidden(top string, imports []string, rows ...map[string]string) (bad []string) {
	for _, path := range imports {
		to, ours := strings.CutPrefix(path, module)
		allowed := !ours || to == top || strings.HasPrefix(to, top+"/")
		for _, row := range rows {
			for a := range row {
				allowed = allowed || to == a || strings.HasPrefix(to, a+"/")
			}
		}
		if !allowed {
			bad = append(bad, to)
		}
	}
	return bad
}

// TestDocumented holds that every package says what it is for, and that every
// exported name of a package that others can import is documented.
func TestDocumented(t *testing.T) {
	dirs := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "build" || strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".pb.go") {
			dirs[filepath.Dir(path)] = append(dirs[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, files := range dirs {
		documented := false
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc != nil && len(f.Doc.Text()) > 40
			if f.Name.Name != "main" {
				exported(t, file, f)
			}
		}
		if !documented {
			t.Errorf("package in %s has no comment that says what it is for", dir)
		}
	}
}

// exported complains about exported declarations without a comment.
func exported(t *testing.T, file string, f *ast.File) {
	t.Helper()
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && receiverExported(d) {
				t.Errorf("%s: %s has no comment", file, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				for _, name := range names(s) {
					if name.IsExported() && d.Doc == nil && comment(s) == nil {
						t.Errorf("%s: %s has no comment", file, name.Name)
					}
				}
			}
		}
	}
}

// receiverExported says whether a function is one, or a method of an exported
// type: a method of an unexported one is there for an interface that says what
// it does.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

func names(s ast.Spec) []*ast.Ident {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return []*ast.Ident{s.Name}
	case *ast.ValueSpec:
		return s.Names
	}
	return nil
}

func comment(s ast.Spec) *ast.CommentGroup {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return s.Doc
	case *ast.ValueSpec:
		if s.Doc != nil {
			return s.Doc
		}
		return s.Comment
	}
	return nil
}
