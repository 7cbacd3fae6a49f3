// Command gantry is the command line of Gantry: for the technician in the data
// centre, the operator, the customer and the driver vendor.
//
// It exits with one of the codes in [exitCode]'s documentation, prints results
// on standard output (a table for people, JSON or YAML for programs) and
// everything else on standard error.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newApp(os.Stdin, os.Stdout, os.Stderr), os.Args[1:])
	stop()
	os.Exit(code)
}
