package configure

import "github.com/gantry-pod/gantry/netboot/job"

// Validate is job.Config's: the appliance has asked the same before the machine
// was touched, and here it guards the image's files whoever gave the job.
func Validate(c job.Config) error { return c.Validate() }
