package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/internal/handshake"
	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

const (
	// maxAnswer bounds an answer: 4 MiB is 30,000 outlets.
	maxAnswer = 4 << 20
	// stopGrace is how long a driver may take to leave when asked.
	stopGrace = 2 * time.Second
	// stuckAfter is how long a driver may be busier than we made it before it
	// is taken to have calls that never end.
	stuckAfter = time.Minute
)

// live is a driver process that has greeted and told who it is.
type live struct {
	name    string
	cfg     Config
	process *process
	client  *goplugin.Client
	driver  pluginv1.DriverClient
	pdu     pluginv1.PDUClient
	info    device.Info
	configs *configChecker
	active  atomic.Int32 // calls that we have in flight
	suspect atomic.Bool  // a call broke: ask whether it is there before the next
}

// usable says whether the driver can be called. One whose connection broke is
// asked first: it may be dead and not buried yet.
func (l *live) usable(ctx context.Context) bool {
	select {
	case <-l.process.exited:
		return false
	default:
	}
	if !l.suspect.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := l.driver.Info(ctx, &pluginv1.InfoRequest{}); err != nil {
		return false
	}
	l.suspect.Store(false)
	return true
}

// launch starts the driver's process and gets to know it, within StartTimeout.
func launch(ctx context.Context, d *driver) (*live, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StartTimeout)
	defer cancel()
	binary, _, err := openPinned(d.path, d.pin)
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", d.name, err)
	}
	var p *process
	disarm := func() bool { return true }
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake.Config(),
		Plugins:          goplugin.PluginSet{handshake.Service: &handshake.Plugin{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     d.cfg.StartTimeout,
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       d.logs,
		SyncStderr:       d.logs,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: d.cfg.RunDir},
		GRPCDialOptions:  []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer))},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			p = newProcess(d.name, binary, spec.Env, dir, d.logs)
			if err := p.runAs(d.as); err != nil {
				return nil, err
			}
			// go-plugin waits for ever for a driver that greets and then hangs.
			disarm = context.AfterFunc(ctx, func() { p.Kill(context.Background()) })
			return p, nil
		},
	})
	l := &live{name: d.name, cfg: d.cfg, client: client}
	if err := l.connect(ctx, d, &p); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("not up within %v: %w", d.cfg.StartTimeout, err)
		}
		binary.Close()
		l.process = p
		l.stop()
		return nil, fmt.Errorf("driver %s: %w", d.name, err)
	}
	if !disarm() {
		l.stop()
		return nil, fmt.Errorf("driver %s: %w", d.name, context.Cause(ctx))
	}
	return l, nil
}

func (l *live) connect(ctx context.Context, d *driver, p **process) error {
	_, err := l.client.Start()
	l.process = *p
	if *p != nil {
		d.launched((*p).pid())
	}
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	protocol, err := l.client.Client()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	raw, err := protocol.Dispense(handshake.Service)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	conn, ok := raw.(*grpc.ClientConn)
	if !ok {
		return fmt.Errorf("connect: go-plugin gave a %T", raw)
	}
	l.driver, l.pdu = pluginv1.NewDriverClient(conn), pluginv1.NewPDUClient(conn)
	return l.introduce(ctx)
}

// introduce asks who the driver is and what its configuration looks like.
func (l *live) introduce(ctx context.Context) error {
	info, err := l.driver.Info(ctx, &pluginv1.InfoRequest{})
	if err != nil {
		return fmt.Errorf("ask who it is: %w", err)
	}
	l.info = device.InfoFromWire(info)
	if l.info.Name != l.name {
		return fmt.Errorf("its file is named %s%s, but it calls itself %q", BinaryPrefix, l.name, l.info.Name)
	}
	if slices.Contains(info.GetKinds(), pluginv1.Kind_KIND_PDU) {
		l.info.Kinds = append(l.info.Kinds, device.KindPDU)
	}
	schema, err := l.driver.ConfigSchema(ctx, &pluginv1.ConfigSchemaRequest{})
	if err != nil {
		return fmt.Errorf("ask for its configuration's schema: %w", err)
	}
	if l.configs, err = newConfigChecker(schema.GetJsonSchema()); err != nil {
		return fmt.Errorf("its configuration's schema: %w", err)
	}
	return nil
}

// watch returns once the driver has ended, stopped beating, or got stuck in
// calls that nobody waits for. It returns nil when ctx ends.
func (l *live) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	beats := make(chan *pluginv1.HealthResponse)
	broken := make(chan error, 1)
	go func() { broken <- l.listen(ctx, beats) }()

	patience := 3 * l.cfg.HealthInterval
	silence := time.NewTimer(patience)
	defer silence.Stop()
	fine := time.Now() // when it was last no busier than we made it
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.process.exited:
			return fmt.Errorf("driver %s ended: %w", l.name, exitError(l.process.err))
		case err := <-broken:
			return fmt.Errorf("driver %s: its health stream broke: %w", l.name, err)
		case <-silence.C:
			return fmt.Errorf("driver %s hangs: no beat for %v", l.name, patience)
		case beat := <-beats:
			silence.Reset(patience)
			if int32(beat.GetActive()) <= l.active.Load() {
				fine = time.Now()
			} else if time.Since(fine) > stuckAfter {
				return fmt.Errorf("driver %s is stuck: %d calls run on after their deadlines", l.name, int32(beat.GetActive())-l.active.Load())
			}
		}
	}
}

// listen passes the driver's beats on until the stream breaks.
func (l *live) listen(ctx context.Context, beats chan<- *pluginv1.HealthResponse) error {
	stream, err := l.driver.Health(ctx, &pluginv1.HealthRequest{IntervalMs: uint32(l.cfg.HealthInterval.Milliseconds())})
	if err != nil {
		return err
	}
	for {
		beat, err := stream.Recv()
		if err != nil {
			// The process's own end says more than the stream's.
			select {
			case <-l.process.exited:
				return exitError(l.process.err)
			case <-time.After(drainTime):
				return err
			}
		}
		select {
		case beats <- beat:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// stop ends the process: politely, then not. It returns once it is gone.
func (l *live) stop() {
	if l.process != nil {
		defer time.AfterFunc(stopGrace, func() { l.process.Kill(context.Background()) }).Stop()
	}
	l.client.Kill()
}
