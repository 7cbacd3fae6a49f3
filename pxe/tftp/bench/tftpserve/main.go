// Command tftpserve serves a directory with package tftp, to be measured
// beside other servers.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/gantry-pod/gantry/pxe/tftp"
)

func main() {
	root := flag.String("root", ".", "directory to serve")
	listen := flag.String("listen", "0.0.0.0:69", "address and port")
	loops := flag.Int("loops", 0, "event loops; 0 is the default")
	noGSO := flag.Bool("no-gso", false, "send windows by sendmmsg")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "tftpserve:", err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if err := run(*root, *listen, *loops, *noGSO); err != nil {
		fmt.Fprintln(os.Stderr, "tftpserve:", err)
		os.Exit(1)
	}
}

func run(root, listen string, loops int, noGSO bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	addr, err := netip.ParseAddrPort(listen)
	if err != nil {
		return err
	}
	dir, err := tftp.Dir(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := tftp.Config{Listen: addr, SessionsPerClient: 128, Loops: loops, NoSegmentation: noGSO}
	srv, err := tftp.New(cfg, dir, log)
	if err != nil {
		return err
	}
	return srv.Serve(ctx)
}
