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
