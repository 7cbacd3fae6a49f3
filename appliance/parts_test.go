package appliance

import (
	"testing"
	"time"
)

// TestQuietAgentIsNotLost holds that an agent that does what it is told, and so
// waits for a job in one long call, cannot be taken for a lost one.
func TestQuietAgentIsNotLost(t *testing.T) {
	for _, lost := range []time.Duration{2 * time.Second, 20 * time.Second, time.Minute, time.Hour} {
		c := DefaultConfig()
		c.Times.Lost = Duration(lost)
		if got := c.agentTimes(); 2*got.Poll > got.Lost || 2*got.ReportEvery > got.Lost || got.Poll <= 0 || got.ReportEvery <= 0 {
			t.Errorf("lost after %s: polls for %s, reports every %s", lost, got.Poll, got.ReportEvery)
		}
	}
}

// TestPowerStepOutlastsOutlets holds that a step that restarts a machine is
// given no less than its outlets are.
func TestPowerStepOutlastsOutlets(t *testing.T) {
	for _, settle := range []time.Duration{0, 90 * time.Second, 200 * time.Second, time.Hour} {
		c := DefaultConfig()
		c.Times.Settle, c.Times.OffFor = Duration(settle), Duration(time.Minute)
		if got := c.deployTimes().Power; got <= 2*settle+time.Minute || got < 5*time.Minute {
			t.Errorf("outlets settle in %s: a power step has %s", settle, got)
		}
	}
}
