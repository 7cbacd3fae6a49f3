// Command gantry-appliance runs a pod: it boots, images, powers and networks
// the pod's machines. See docs/ARCHITECTURE.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/gantry-pod/gantry/appliance"
)

// version is set by the build.
var version = "dev"

func main() {
	path := flag.String("config", "/etc/gantry/appliance.yaml", "configuration file")
	check := flag.Bool("check", false, "read the configuration file, say what is wrong with it, and exit")
	debug := flag.Bool("debug", false, "log more")
	show := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	// What it writes holds tenants' data and keys; what others may have is given
	// to them by name (the API's socket).
	syscall.Umask(0o077)
	if *show {
		fmt.Println(version)
		return
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	cfg, err := appliance.ReadConfig(*path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gantry-appliance:", err)
		os.Exit(2)
	}
	if *check {
		fmt.Println(*path, "is in order")
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := appliance.Run(ctx, cfg, version, log); err != nil {
		fmt.Fprintln(os.Stderr, "gantry-appliance:", err)
		os.Exit(1)
	}
}
