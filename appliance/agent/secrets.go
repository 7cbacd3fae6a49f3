package agent

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gantry-pod/gantry/netboot/job"
)

// hide takes out of a deployment's job what must not lie in the store as it is:
// user-data and password hashes. sealed is the whole job, or nil if there was
// nothing to hide; j itself is left as it is.
func (s *Service) hide(j *job.Job) (shown *job.Job, sealed []byte, err error) {
	if j.Deploy == nil {
		return j, nil, nil
	}
	d := *j.Deploy
	secret := d.Config.UserData != ""
	d.Config.UserData, d.Config.Users = "", slices.Clone(d.Config.Users)
	for i := range d.Config.Users {
		secret = secret || d.Config.Users[i].PasswordHash != ""
		d.Config.Users[i].PasswordHash = ""
	}
	if !secret {
		return j, nil, nil
	}
	plain, err := json.Marshal(j)
	if err == nil {
		sealed, err = s.assets.Seal(plain, "job/"+j.ID)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("job %s: %w", j.ID, err)
	}
	less := *j
	less.Deploy = &d
	return &less, sealed, nil
}

// whole returns b's job as it was given.
func (s *Service) whole(b *Boot) (*job.Job, error) {
	if b.Sealed == nil {
		return b.Job, nil
	}
	plain, err := s.assets.Unseal(b.Sealed, "job/"+b.Job.ID)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", b.Job.ID, err)
	}
	var j job.Job
	if err := json.Unmarshal(plain, &j); err != nil {
		return nil, fmt.Errorf("job %s: %w", b.Job.ID, err)
	}
	return &j, nil
}
