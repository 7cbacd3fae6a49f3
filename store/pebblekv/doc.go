// Package pebblekv is the embedded engine of package store: a directory of files,
// kept by Pebble, for one process.
//
// It owns durability and isolation. Updates run their function one at a time,
// which makes them serializable in the order in which they ran. A transaction is
// applied in memory, the next one begins upon it at once, and one goroutine syncs
// the log for all that were applied meanwhile (group commit). Until that sync is
// done only later Updates see the transaction, and none of those returns before
// what it saw is durable. Views see the state of the last completed sync.
//
// A log that cannot be written or synced stops the engine for good: it acknowledges
// nothing more, Views go on reading the last durable state, and what was under way
// returns an error that wraps store.ErrFailed. Where Pebble itself cannot go on (a
// manifest that cannot be written, a log that cannot be rotated) the process ends,
// with the reason logged, as what runs inside Pebble cannot be unwound.
package pebblekv
