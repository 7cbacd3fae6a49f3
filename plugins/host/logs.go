package host

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// maxAttr bounds each value that a driver's log line carries on.
const maxAttr = 2 << 10

// logSink passes a driver's lines on to our log, a bounded number a second. It
// outlives the process, so that restarting does not refill the bucket.
type logSink struct {
	log  *slog.Logger
	rate float64 // lines a second; four seconds' worth may come at once

	mu      sync.Mutex // guards the fields below
	tokens  float64
	filled  time.Time
	dropped int
	now     func() time.Time
}

func newLogSink(log *slog.Logger, rate int) *logSink {
	s := &logSink{log: log, rate: float64(rate), now: time.Now}
	s.tokens, s.filled = 4*s.rate, s.now()
	return s
}

// take says whether a line may pass, and how many were dropped before it.
func (s *logSink) take() (ok bool, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.tokens = min(4*s.rate, s.tokens+now.Sub(s.filled).Seconds()*s.rate)
	s.filled = now
	if s.tokens < 1 {
		s.dropped++
		return false, 0
	}
	s.tokens--
	dropped, s.dropped = s.dropped, 0
	return true, dropped
}

// line logs one line that the driver printed: a JSON object of slog's as such,
// anything else as text.
func (s *logSink) line(text string) {
	ok, dropped := s.take()
	if dropped > 0 {
		s.log.Warn("driver logs too much, lines were dropped", "dropped", dropped)
	}
	if !ok || text == "" {
		return
	}
	level, attrs := slog.LevelInfo, []slog.Attr{}
	var fields map[string]any
	if json.Unmarshal([]byte(text), &fields) != nil {
		s.log.LogAttrs(context.Background(), level, "driver says", slog.String("text", cut(text)))
		return
	}
	for key, value := range fields {
		switch key {
		case slog.TimeKey:
		case slog.LevelKey:
			if name, ok := value.(string); ok && level.UnmarshalText([]byte(name)) != nil {
				level = slog.LevelInfo
			}
		case slog.MessageKey:
			attrs = append(attrs, slog.String("text", cutValue(value)))
		default:
			attrs = append(attrs, slog.String(cut(key), cutValue(value)))
		}
	}
	s.log.LogAttrs(context.Background(), level, "driver says", slog.Attr{Key: "line", Value: slog.GroupValue(attrs...)})
}

// Write takes what the driver prints after the handshake through Go's
// os.Stdout, which go-plugin carries over the connection.
func (s *logSink) Write(b []byte) (int, error) {
	s.line(string(b[:min(len(b), maxLine)]))
	return len(b), nil
}

func cutValue(v any) string {
	if s, ok := v.(string); ok {
		return cut(s)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return cut(string(raw))
}

func cut(s string) string {
	if len(s) > maxAttr {
		return s[:maxAttr] + "…"
	}
	return s
}
