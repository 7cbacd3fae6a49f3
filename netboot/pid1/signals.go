package pid1

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Signals that reboot(8), halt(8) and poweroff(8) of busybox send to the first
// process. Go's own handlers would end it, which panics the kernel.
var (
	restartSignals  = []os.Signal{unix.SIGTERM, unix.SIGINT}
	powerOffSignals = []os.Signal{unix.SIGUSR1, unix.SIGUSR2}
)

// obey restarts the machine or switches it off when someone who is logged in
// asks for it, until ctx ends. It returns when it has begun to listen.
func obey(ctx context.Context, c Config, restart, powerOff func() error) {
	again, off := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(again, restartSignals...)
	signal.Notify(off, powerOffSignals...)
	go func() {
		defer signal.Stop(again)
		defer signal.Stop(off)
		for {
			var err error
			select {
			case s := <-again:
				c.Log.Info("asked to restart", "signal", s)
				err = restart()
			case s := <-off:
				c.Log.Info("asked to switch off", "signal", s)
				err = powerOff()
			case <-ctx.Done():
				return
			}
			if err != nil {
				c.Log.Error("the kernel refused", "err", err)
			}
		}
	}()
}
