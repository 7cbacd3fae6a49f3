package pebblekv

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// logger hands Pebble's own log to the engine's.
type logger struct{ e *Engine }

func (l logger) Infof(format string, args ...any) {
	if l.e.log.Enabled(context.Background(), slog.LevelDebug) {
		l.e.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.e.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf must not return. On the commit path the engine recovers the panic and
// fails; elsewhere nothing can, and the process ends with the reason.
func (l logger) Fatalf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	l.e.log.Error("pebble cannot go on", "message", message)
	panic("pebblekv: " + message)
}

// listener reports what an operator should know of.
func (e *Engine) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			e.log.Error("store cannot flush or compact, and tries again", "error", err.Error())
		},
		// Reads of the damaged part return the error; the rest stays readable.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			e.log.Error("store is damaged", "path", info.Path, "error", info.Details.Error())
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			e.log.Warn("disk is slow", "path", info.Path, "operation", info.OpType.String(), "duration", info.Duration)
		},
		// Pebble ends the process of this, and does not say why.
		WALCreated: func(info pebble.WALCreateInfo) {
			if info.Err != nil {
				e.log.Error("store cannot make a new log", "path", info.Path, "error", info.Err.Error())
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			e.log.Warn("store holds writes back until it has caught up", "reason", info.Reason)
		},
	}
}
