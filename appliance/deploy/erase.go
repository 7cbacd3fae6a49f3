package deploy

import (
	"context"
	"errors"
	"slices"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

// erase wipes a machine that has a disk without certificate, as one has that was
// never released: else a server's tenant could read what somebody had there, and
// an old system on another disk could be the one that boots. The image writer
// clears only the place of the image and its disk's ends.
//
// The machine stays reserved meanwhile: who calls the deployment off does not
// wait for a wipe, which the next deployment does instead. An image that was
// begun is never erased, nor what an appliance wrote that did not know this step.
func (a *Actuator) erase(ctx context.Context, run *change.Run) error {
	var asked Spec
	if err := run.Spec(&asked); err != nil {
		return err
	}
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	spec := eraseSpec(&m, asked.Disk)
	if spec == nil {
		return nil
	}
	result, err := a.do(ctx, run, job.Job{Kind: job.Wipe, Wipe: spec}, nil)
	var p *change.Problem
	if errors.As(err, &p) && p.Code == "disk-not-found" {
		p.Person, p.Action = true, lookAtDisks
	}
	if err != nil {
		return err
	}
	if p := believe(&m, spec, result.Wiped); p != nil {
		return p
	}
	return a.Assets.Change(ctx, m.ID, func(_ *store.Tx, m *asset.Machine) error {
		m.Wiped = result.Wiped
		return nil
	})
}

// eraseSpec is what is to be wiped before m gets an image, or nil.
func eraseSpec(m *asset.Machine, asked job.DiskHint) *job.WipeSpec {
	if m.Status.State != machine.Reserved || len(uncertified(m)) == 0 {
		return nil
	}
	spec := wipeSpec(m, asked)
	spec.Quick = quickly(m)
	return spec
}

// uncertified are the disks of m's inventory that are not removable and that its
// last wipe does not stand for: it was never wiped, or they came later.
func uncertified(m *asset.Machine) (disks []job.Disk) {
	left := slices.Clone(m.Wiped)
	for _, d := range mustWipe(m, &job.WipeSpec{}) {
		if i := certificate(left, d); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		disks = append(disks, d)
	}
	return disks
}

// quickly says that m's only disk can be discarded in a moment. It is written
// right after, so nobody finds anything by what was there; other disks are handed
// over as they are, and are erased as well as they can be.
func quickly(m *asset.Machine) bool {
	all := mustWipe(m, &job.WipeSpec{})
	return len(all) == 1 && all[0].Discard
}
