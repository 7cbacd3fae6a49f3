package deploy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/netboot/job"
)

// box is a computer behind an outlet: when power comes it asks what to boot,
// and runs an agent that speaks netboot/job over HTTP, or the system on its
// disk, which has an SSH server. It can be told to misbehave.
type box struct {
	pod *pod
	key ssh.Signer

	mu   sync.Mutex // guards the rest
	on   bool
	stop context.CancelFunc
	disk string // what is on the disk
	runs bool   // the disk's system is up
	jobs []job.Kind
	// wipes are the specs of the wipes that came to their end.
	wipes []job.WipeSpec
	sets  []string // what the outlet was told

	outlet   power.State                 // if set, what the outlet says of itself
	slow     time.Duration               // how long the outlet takes to say it
	hint     job.DiskHint                // of the last deployment
	noBoot   bool                        // the firmware hangs
	hang     map[job.Kind]int            // how often the agent hangs in that job's middle
	problems map[job.Kind][]*job.Problem // how the next jobs fail
	impostor bool                        // another system answers SSH
	mute     bool                        // nothing answers SSH
	wiped    []job.WipedDisk             // if set, what the agent says it wiped
	rogue    bool                        // the firmware boots the disk, whatever it is told
	ran      []string                    // what systems ran from the disk
}

// The times of a box.
const (
	firmwareTime = 30 * time.Second
	phaseTime    = 12 * time.Second
	bootTime     = 15 * time.Second
)

func newBox(p *pod) *box {
	return &box{pod: p, key: hostKey(1), hang: map[job.Kind]int{}, problems: map[job.Kind][]*job.Problem{}}
}

// hostKey is an SSH host key, the same for the same number.
func hostKey(n byte) ssh.Signer {
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	return s
}

func publicKey(s ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

var userKey = publicKey(hostKey(9)) + " user@example"

// Outlets implements power.Devices.
func (x *box) Outlets(context.Context, string) (power.Outlets, error) { return x, nil }

// Get implements power.Outlets.
func (x *box) Get(ctx context.Context, _ string) (power.State, error) {
	x.mu.Lock()
	slow := x.slow
	x.mu.Unlock()
	pause(ctx, slow)
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.outlet != "":
		return x.outlet, nil
	case x.on:
		return power.On, nil
	}
	return power.Off, nil
}

// Set implements power.Outlets.
func (x *box) Set(_ context.Context, outlet string, on bool, _ string) error {
	x.mu.Lock()
	x.sets = append(x.sets, fmt.Sprintf("%s %v", outlet, on))
	x.mu.Unlock()
	x.power(on)
	return nil
}

// power gives or cuts power.
func (x *box) power(on bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if on == x.on {
		return
	}
	x.on = on
	if on {
		x.start()
	} else {
		x.halt()
	}
}

// halt ends everything that runs. The caller holds x.mu.
func (x *box) halt() {
	if x.stop != nil {
		x.stop()
	}
	x.stop, x.runs = nil, false
}

// start begins a boot. The caller holds x.mu.
func (x *box) start() {
	x.halt()
	ctx, stop := context.WithCancel(context.Background())
	x.stop = stop
	go x.boot(ctx)
}

// crash is the machine's kill -9: everything in it stops, and its power is on.
func (x *box) crash() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.halt()
}

// boot is firmware, boot script, and what that starts.
func (x *box) boot(ctx context.Context) {
	pause(ctx, firmwareTime)
	for ctx.Err() == nil {
		x.pod.mu.Lock()
		guide := x.pod.guide
		x.pod.mu.Unlock()
		x.mu.Lock()
		dead, rogue := x.noBoot, x.rogue
		x.mu.Unlock()
		if rogue {
			x.runDisk(ctx)
			return
		}
		if guide == nil || dead {
			pause(ctx, 5*time.Second)
			continue
		}
		plan, err := guide.Script(ctx, net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, netip.MustParseAddr("10.0.0.10"))
		switch {
		case err != nil, plan.Boot == machine.BootWait:
			pause(ctx, 10*time.Second)
		case plan.Boot == machine.BootDisk:
			x.runDisk(ctx)
			return
		default:
			x.agent(ctx, plan.Args)
			return
		}
	}
}

func (x *box) runDisk(ctx context.Context) {
	pause(ctx, bootTime)
	x.mu.Lock()
	defer x.mu.Unlock()
	if ctx.Err() == nil {
		x.runs = true
		x.ran = append(x.ran, x.disk)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// agent is the netboot agent from its start to the power's end.
func (x *box) agent(ctx context.Context, args []string) {
	params := map[string]string{}
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		params[k] = v
	}
	var w job.Welcome
	hello := job.Hello{Protocol: job.Version, Machine: params[job.ParamMachine], BootMAC: params[job.ParamBootIF], MACs: []string{params[job.ParamBootIF]}}
	if !x.call(ctx, "POST", "/agent/v1/hello", params[job.ParamToken], hello, &w) {
		return
	}
	for after := ""; ctx.Err() == nil; {
		var j job.Job
		if !x.call(ctx, "GET", "/agent/v1/job?after="+after, w.Session, nil, &j) {
			return
		}
		if j.ID == "" {
			continue
		}
		after = j.ID
		if !x.work(ctx, w.Session, &j) {
			return
		}
	}
}

// work does one job; it returns false when the agent is at its end.
func (x *box) work(ctx context.Context, session string, j *job.Job) bool {
	x.mu.Lock()
	x.jobs = append(x.jobs, j.Kind)
	hang := x.hang[j.Kind] > 0
	x.hang[j.Kind]--
	var p *job.Problem
	if list := x.problems[j.Kind]; len(list) > 0 {
		p, x.problems[j.Kind] = list[0], list[1:]
	}
	x.mu.Unlock()
	path := "/agent/v1/jobs/" + j.ID + "/report"
	seq := int64(0)
	end := job.Report{State: job.Done, Final: true}
	for _, phase := range map[job.Kind][]string{job.Deploy: {"write", "configure", "readback"}, job.Wipe: {"wipe"}, job.Inspect: {"inspect"}, job.Rescue: {"rescue"}}[j.Kind] {
		x.touchDisk(j.Kind, phase)
		for range 3 {
			var reply job.Reply
			seq++
			if !x.call(ctx, "POST", path, session, job.Report{Seq: seq, Phase: phase, State: job.Running}, &reply) {
				return false
			}
			if reply.Cancel {
				p = &job.Problem{Code: "cancelled", Detail: "told to"}
			}
			if hang {
				<-ctx.Done()
				return false
			}
			pause(ctx, phaseTime/3)
		}
		if p != nil {
			break
		}
	}
	seq++
	end.Seq = seq
	if p != nil {
		end.State, end.Problem = job.Failed, p
	} else {
		end.Result = x.finish(j)
	}
	if !x.call(ctx, "POST", path, session, end, nil) {
		return false
	}
	if j.Kind == job.Reboot && p == nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if ctx.Err() == nil {
			x.start()
		}
		return false
	}
	return true
}

// touchDisk is what a phase does to the disk.
func (x *box) touchDisk(kind job.Kind, phase string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case kind == job.Deploy && phase == "write":
		x.disk = "half"
	case kind == job.Deploy && phase == "readback":
		x.disk = "debian"
	}
}

// finish is what a job brought about.
func (x *box) finish(j *job.Job) *job.Result {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch j.Kind {
	case job.Inspect:
		return &job.Result{Inventory: goodInventory()}
	case job.Deploy:
		x.hint = j.Deploy.Disk
		return &job.Result{Deploy: &job.Deployed{Disk: "/dev/vda", HostKeys: []string{publicKey(x.key)}}}
	case job.Wipe:
		x.disk = ""
		x.wipes = append(x.wipes, *j.Wipe)
		if x.wiped != nil {
			return &job.Result{Wiped: x.wiped}
		}
		return &job.Result{Wiped: goodWipe()}
	case job.Rescue:
		return &job.Result{Rescue: &job.RescueReady{Address: "10.0.0.10:22", HostKeys: []string{publicKey(hostKey(byte(10 + len(x.jobs))))}}}
	}
	return nil
}

// call repeats a call until it is answered; false is a refusal, or the end.
func (x *box) call(ctx context.Context, method, path, token string, in, out any) bool {
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	for ; ctx.Err() == nil; pause(ctx, 2*time.Second) {
		req, err := http.NewRequestWithContext(ctx, method, "http://10.0.0.1"+path, bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := x.pod.net.client.Do(req)
		if err != nil {
			continue
		}
		if res.StatusCode == http.StatusOK && out != nil {
			err = json.NewDecoder(res.Body).Decode(out)
		}
		res.Body.Close()
		if err == nil && res.StatusCode < 500 {
			return res.StatusCode < 300
		}
	}
	return false
}

// dial is the network between the appliance and the system on the disk.
func (x *box) dial(context.Context, string, string) (net.Conn, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.runs || x.disk != "debian" || x.mute {
		return nil, errOff
	}
	key := x.key
	if x.impostor {
		key = hostKey(2)
	}
	near, far := newLine()
	go serveSSH(far, key)
	return near, nil
}

// serveSSH is an SSH server that lets nobody in.
func serveSSH(c net.Conn, key ssh.Signer) {
	defer c.Close()
	config := &ssh.ServerConfig{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errOff }}
	config.AddHostKey(key)
	_, _, _, _ = ssh.NewServerConn(c, config)
}

func (x *box) wantSets(want ...string) {
	x.pod.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Equal(x.sets, want) {
		x.pod.t.Errorf("the outlet was told %v, want %v", x.sets, want)
	}
}

func (x *box) wantPower(want power.State) {
	x.pod.t.Helper()
	if s, err := x.Get(context.Background(), "1"); s != want || err != nil {
		x.pod.t.Errorf("the outlet is %s, want %s", s, want)
	}
}

// change lets fn change the box.
func (x *box) change(fn func(x *box)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	fn(x)
}

func (x *box) did(k job.Kind) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, j := range x.jobs {
		if j == k {
			n++
		}
	}
	return n
}

func (x *box) wantDisk(want string) {
	x.pod.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.disk != want {
		x.pod.t.Errorf("the disk holds %q, want %q", x.disk, want)
	}
}
