package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/images/library"
	"github.com/gantry-pod/gantry/plugins/host"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/httpboot"
	"github.com/gantry-pod/gantry/pxe/link"
	"github.com/gantry-pod/gantry/pxe/ra"
	"github.com/gantry-pod/gantry/pxe/tftp"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// Run runs an appliance until ctx ends, and then stops it: work in progress is
// left where it is, to be resumed. A store that has failed ends it with an error:
// whoever runs it must run it again.
func Run(ctx context.Context, cfg Config, version string, log *slog.Logger) (err error) {
	prefix := netip.MustParsePrefix(cfg.Provisioning.Address) // Validate saw to it
	addr := prefix.Addr()
	bootURL := fmt.Sprintf("http://%s", netip.AddrPortFrom(addr, cfg.HTTP.Port))
	if err := cfg.makeDirs(); err != nil {
		return fmt.Errorf("appliance: %w", err)
	}

	// What survives.
	opened, err := pebblekv.Open(filepath.Join(cfg.StateDir, "store"), pebblekv.Options{Logger: log})
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	engine := watchEngine(opened)
	assetTables, changeTables, agentTables, alertTables := asset.NewTables(), change.NewTables(), agent.NewTables(), alert.NewTables()
	var schemas []store.Schema
	for _, t := range [][]store.Schema{assetTables.Schemas(), changeTables.Schemas(), agentTables.Schemas(), alertTables.Schemas()} {
		schemas = append(schemas, t...)
	}
	db, err := store.Open(ctx, engine, log, schemas...)
	if err != nil {
		return errors.Join(fmt.Errorf("appliance: %w", err), engine.Close())
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	vault, err := asset.OpenVault(filepath.Join(cfg.StateDir, "secrets.key"))
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	lib, err := library.Open(filepath.Join(cfg.StateDir, "images"), log)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	defer func() { err = errors.Join(err, lib.Close()) }()
	logbook, err := agent.NewLogbook(filepath.Join(cfg.StateDir, "logs"), time.Now)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}

	// What knows.
	registry := asset.NewRegistry(db, assetTables, vault, cfg.machinePool(), time.Now)
	sinks, err := cfg.sinks()
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	desk := alert.NewDesk(db, alertTables, sinks, log, time.Now)
	if err := importInventory(ctx, registry, cfg.Inventory, desk, log); err != nil {
		return fmt.Errorf("appliance: inventory: %w", err)
	}
	book := change.NewBook(db, changeTables, registry, time.Now)
	live := change.NewLive(time.Now)
	sightings := boot.NewSightings(time.Now)

	// What does.
	drivers, err := host.New(host.Config{Dir: cfg.Drivers.Dir, RunDir: filepath.Join(cfg.RunDir, "drivers"), User: cfg.Drivers.User, Log: log})
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	devices := &devices{assets: registry, drivers: drivers, now: time.Now}
	actuator := power.New(devices, cfg.powerLimits(), log)
	devices.power = actuator
	agents := agent.New(db, agentTables, registry, logbook, cfg.agentTimes(), machineAlerts(desk), log, time.Now)
	images := &imageDesk{lib: lib, base: bootURL, fetch: newFetcher(cfg.Images.LocalURLs)}
	deployer := &deploy.Actuator{Assets: registry, Agents: agents, Power: actuator, Images: images, Sightings: sightings,
		Network: cfg.network(), Times: cfg.deployTimes(), Dial: (&net.Dialer{}).DialContext, Now: time.Now, Log: log}
	runner := change.NewRunner(book, deployer.Plans(), live, requestAlerts(desk), log)
	guide := boot.NewGuide(registry, agents, cfg.Discovery, bootURL, inspectFound(runner, deployer, log), log)
	if err := guide.Refresh(ctx); err != nil {
		return fmt.Errorf("appliance: %w", err)
	}

	// What listens.
	spec := cfg.link()
	stale, err := link.RemoveStale(ctx, spec)
	if err != nil {
		return fmt.Errorf("appliance: provisioning interface: %w", err)
	}
	if len(stale) > 0 {
		log.Info("provisioning interface of an earlier configuration removed", "done", stale)
	}
	if _, err := link.Ensure(ctx, spec); err != nil {
		return fmt.Errorf("appliance: provisioning interface: %w", err)
	}
	guide.Link = prefix.Masked()
	watch := newWatcher(sightings, guide.Host, desk.Post)
	raw, err := db.Raw("dhcp")
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	leases, err := dhcp.New(ctx, cfg.dhcp(spec.Name()), oracle{guide}, dhcp.NewStoreJournal(raw), watch.dhcp, log)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	loaders, err := tftp.Dir(cfg.Netboot.Loaders)
	if err != nil {
		return fmt.Errorf("appliance: boot loaders: %w", err)
	}
	defer func() { err = errors.Join(err, loaders.Close()) }()
	files, err := tftp.New(tftp.Config{Listen: netip.AddrPortFrom(addr, 69), Interface: spec.Name(), OnTransfer: watch.tftp}, loaders, log)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	solicitations, err := ra.New(spec.Name(), log)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	bootHandler, err := httpboot.New(httpboot.Config{Loaders: os.DirFS(cfg.Netboot.Loaders), Netboot: os.DirFS(cfg.Netboot.Dir), DiskLoader: diskLoader(cfg.Netboot.Loaders),
		Images: http.StripPrefix("/images", lib.Handler()), ImageRate: cfg.HTTP.ImageRate, OnAccess: watch.http},
		scripter{guide, guide.Host, cfg.claims(spec.Name(), leases), desk.Post, biosKernel(cfg.Netboot.Dir), cfg.Netboot.Args}, log)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	bootMux := http.NewServeMux()
	bootMux.Handle("/agent/", agents.Handler())
	bootMux.Handle("/", bootHandler)
	bootHTTP := bootServer{netip.AddrPortFrom(addr, cfg.HTTP.Port), spec.Name(), bootMux, log}
	services := newSupervisor(log)
	local := &api.Server{Pod: cfg.Pod, Version: version, Assets: registry, Book: book, Runner: runner, Live: live, Deploy: deployer,
		Power: actuator, Alerts: desk, Logs: logbook, Images: images, PDUs: pduDesk{devices}, Drivers: driverStatus(drivers),
		Metrics: promhttp.HandlerFor(newMetrics(newPodMetrics(registry, book, desk), leases, files), promhttp.HandlerOpts{}),
		Ready:   func() error { return errors.Join(services.ready(), leases.Healthy()) }, Now: time.Now, Log: log}
	apiServers, err := cfg.listenAPI(local.Handler(), log)
	if err != nil {
		return fmt.Errorf("appliance: %w", err)
	}

	// Start; stop in the opposite order.
	ctx, stop := context.WithCancel(ctx)
	defer services.wait()
	defer stop()
	for _, s := range []service{
		{"drivers", drivers.Run},
		{"inventory", guide.Run},
		{"alerts", desk.Run},
		{"provisioning interface", func(ctx context.Context) error { return link.Watch(ctx, spec, linkChanges(log)) }},
		{"dhcp", leases.Serve},
		{"tftp", files.Serve},
		{"router advertisements", solicitations.Serve},
		{"http " + bootHTTP.addr.String(), bootHTTP.run},
		{"forgetting", forgetting(book, desk, time.Duration(cfg.Keep), time.Now)},
	} {
		services.start(ctx, s)
	}
	for _, s := range apiServers {
		services.start(ctx, service{"http " + s.listener.Addr().String(), s.run})
	}
	defer runner.Close()
	if err := runner.Resume(ctx); err != nil {
		return fmt.Errorf("appliance: %w", err)
	}
	log.Info("appliance runs", "pod", cfg.Pod, "version", version, "boot", bootURL, "api", cfg.API.Socket)
	services.announce(ctx, 30*time.Second, notifyReady)
	select {
	case err := <-engine.failed:
		log.Error("appliance ends, to be started anew: its store has failed", "error", err)
		return fmt.Errorf("appliance: %w", err)
	case <-ctx.Done():
	}
	log.Info("appliance stops")
	return nil
}
