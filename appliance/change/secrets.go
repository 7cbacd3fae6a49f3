package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrSecretsGone says that what was hidden in a request's specification is no
// longer kept.
var ErrSecretsGone = errors.New("its user-data and password hashes are no longer kept")

// hidden begins what is shown in a secret's place.
const hidden = "(hidden"

// Redact takes out of a request's specification what may be secret: password
// hashes, and user-data, which people put tokens into. It says whether there was
// any. What cannot be read is not shown at all.
func Redact(spec json.RawMessage) (shown json.RawMessage, secret bool) {
	if len(spec) == 0 {
		return spec, false
	}
	var fields map[string]any
	if json.Unmarshal(spec, &fields) != nil {
		return nil, true
	}
	if data, ok := fields["user_data"].(string); ok && data != "" && !strings.HasPrefix(data, hidden) {
		fields["user_data"], secret = fmt.Sprintf("%s, %d bytes)", hidden, len(data)), true
	}
	users, _ := fields["users"].([]any)
	for _, u := range users {
		user, _ := u.(map[string]any)
		if hash, ok := user["password_hash"].(string); ok && hash != "" && !strings.HasPrefix(hash, hidden) {
			user["password_hash"], secret = hidden+")", true
		}
	}
	if !secret {
		return spec, false
	}
	shown, err := json.Marshal(fields)
	if err != nil {
		return nil, true
	}
	return shown, true
}

// hide has r keep its specification's secrets sealed.
func (b *Book) hide(r *Request) error {
	shown, secret := Redact(r.Spec)
	if !secret {
		return nil
	}
	sealed, err := b.assets.Seal(r.Spec, "request/"+r.ID)
	if err != nil {
		return fmt.Errorf("request %s: spec: %w", r.ID, err)
	}
	r.Spec, r.Sealed, r.Hidden = shown, sealed, true
	return nil
}

// Spec returns a request's specification with its secrets, for as long as they
// are kept: until it is done, and a day if it failed or was cancelled, as it may
// be given again.
func (b *Book) Spec(r *Request) (json.RawMessage, error) {
	switch {
	case !r.Hidden:
		return r.Spec, nil
	case r.Sealed == nil:
		return nil, fmt.Errorf("request %s: %w; ask for it anew", r.ID, ErrSecretsGone)
	}
	spec, err := b.assets.Unseal(r.Sealed, "request/"+r.ID)
	if err != nil {
		return nil, fmt.Errorf("request %s: spec: %w", r.ID, err)
	}
	return spec, nil
}

// sameSpec says whether spec is what r asks for, as far as that is still known.
func (b *Book) sameSpec(r *Request, spec json.RawMessage) bool {
	old, err := b.Spec(r)
	if err != nil {
		old = r.Spec
		spec, _ = Redact(spec)
	}
	return string(old) == string(spec)
}
