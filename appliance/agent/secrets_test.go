package agent

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store/storetest"
)

// TestJobSecretsAreSealed: the agent gets the whole job, also from an appliance
// that was restarted; the store never holds its secrets as they are, and nothing
// of them once it has ended.
func TestJobSecretsAreSealed(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		config := job.Config{Hostname: "h", UserData: "token: s3cret", Users: []job.User{{Name: "a", PasswordHash: "$6$s3cret"}, {Name: "b"}}}
		j := job.Job{ID: "j1", Kind: job.Deploy, Deploy: &job.DeploySpec{Config: config}}
		session := b.begin()
		b.do(t.Context(), j)
		synctest.Wait()
		for i := range 2 {
			var got job.Job
			w := b.call(t.Context(), "GET", "/agent/v1/job?after=", session, addr1, nil)
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d %s, %v", w.Code, w.Body, err)
			}
			if d := cmp.Diff(config, got.Deploy.Config); d != "" {
				t.Error(d)
			}
			if storetest.Holds(t, filepath.Join(b.dir, "store"), "s3cret") || i == 0 && !storetest.Holds(t, filepath.Join(b.dir, "store"), "hostname") { // later it is compressed
				t.Error("the store shows the job's secrets, or nothing at all")
			}
			b.restart()
		}
		if boot, err := b.service.get(t.Context(), machine1); err != nil || boot.Sealed == nil {
			t.Errorf("%+v, %v", boot, err)
		}
		b.report(session, "j1", final(1))
		if boot, err := b.service.get(t.Context(), machine1); err != nil || boot.Sealed != nil || boot.Final == nil {
			t.Errorf("after its end: %+v, %v", boot, err)
		}
		if j.Deploy.Config.UserData == "" || j.Deploy.Config.Users[0].PasswordHash == "" {
			t.Error("the caller's job was changed")
		}
	})
}
