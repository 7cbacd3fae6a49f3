package api

import (
	"encoding/json"
	"fmt"
)

// redact takes out of a request's specification what may be secret: password
// hashes, and user-data, which people put tokens into. What cannot be read is
// not shown at all.
func redact(spec json.RawMessage) json.RawMessage {
	if len(spec) == 0 {
		return spec
	}
	var fields map[string]any
	if json.Unmarshal(spec, &fields) != nil {
		return nil
	}
	if data, ok := fields["user_data"].(string); ok && data != "" {
		fields["user_data"] = fmt.Sprintf("(hidden, %d bytes)", len(data))
	}
	users, _ := fields["users"].([]any)
	for _, u := range users {
		if user, ok := u.(map[string]any); ok && user["password_hash"] != nil {
			user["password_hash"] = "(hidden)"
		}
	}
	shown, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return shown
}
