package host

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxChecked bounds how many configurations are remembered as good.
const maxChecked = 4096

// configChecker checks targets' configurations against one driver's schema.
type configChecker struct {
	schema *jsonschema.Schema

	mu   sync.Mutex // guards good
	good map[[sha256.Size]byte]bool
}

// noLoader keeps a schema from reading files or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("reference to %s: a driver's schema must be whole", url)
}

func newConfigChecker(raw []byte) (*configChecker, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	const url = "gantry:config"
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	schema, err := c.Compile(url)
	if err != nil {
		return nil, err
	}
	return &configChecker{schema: schema, good: map[[sha256.Size]byte]bool{}}, nil
}

// check says what is wrong with a configuration without quoting its values,
// which are secrets. Nothing at all stands for an empty object.
func (c *configChecker) check(config []byte) error {
	if len(config) == 0 {
		config = []byte("{}")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config))
	if err != nil {
		return errors.New("it is not JSON")
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](c.schema.Validate(doc))
	if !ok {
		return nil
	}
	var faults []error
	collectFaults(invalid, &faults)
	return errors.Join(faults...)
}

// collectFaults turns the leaves of a validation error into sentences.
func collectFaults(v *jsonschema.ValidationError, faults *[]error) {
	for _, cause := range v.Causes {
		collectFaults(cause, faults)
	}
	if len(v.Causes) > 0 {
		return
	}
	at := "/" + strings.Join(v.InstanceLocation, "/")
	switch k := v.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		*faults = append(*faults, fmt.Errorf("%s: unknown key %s", at, strings.Join(k.Properties, ", ")))
	case *kind.Required:
		*faults = append(*faults, fmt.Errorf("%s: missing key %s", at, strings.Join(k.Missing, ", ")))
	case *kind.Type:
		*faults = append(*faults, fmt.Errorf("%s: is %s, must be %s", at, k.Got, strings.Join(k.Want, " or ")))
	default:
		*faults = append(*faults, fmt.Errorf("%s: fails the schema's %s", at, strings.Join(v.ErrorKind.KeywordPath(), "/")))
	}
}

// known says whether this very configuration was found good before.
func (c *configChecker) known(key [sha256.Size]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good[key]
}

// remember notes a good configuration.
func (c *configChecker) remember(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.good) >= maxChecked {
		clear(c.good)
	}
	c.good[key] = true
}
