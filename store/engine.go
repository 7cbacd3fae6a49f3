package store

import "context"

// Engine is an ordered, transactional key-value store: what a DB stands on.
// Keys order as their bytes do ([bytes.Compare]); keys and values are any
// bytes, and a key is not empty. All methods may be called concurrently.
//
// A DB owns its engine from a successful [Open] on.
type Engine interface {
	// Update runs fn in a read-write transaction and commits what it wrote,
	// unless fn returns an error, which Update then returns as it is.
	//
	// Committed transactions are serializable, in an order that agrees with
	// real time. fn may run again after a conflict, each time with a new Txn.
	// However Update returns, whatever fn could see was durable by then: a
	// caller may act on what it read even if it wrote nothing, or failed.
	//
	// A context that ends before the commit begins stops it; one that ends
	// later does not, as the outcome is no longer open. An error that wraps
	// ErrFailed leaves the outcome unknown.
	Update(ctx context.Context, fn func(Txn) error) error

	// View runs fn once on a snapshot that holds every transaction which had
	// returned before View was called, and none that is not durable. It waits
	// for no writer and no writer waits for it. Its Txn's writes fail with
	// ErrReadOnly.
	View(ctx context.Context, fn func(Txn) error) error

	// Commit applies ops in their order, all or none, with prefix put before
	// each key, and returns once that is durable. It reads nothing, waits for
	// no Update's fn, and shares the sync with all that commits meanwhile.
	// The caller keeps keys that it writes this way out of Update's sight:
	// Commit takes no part in Update's serial order. It does not keep ops.
	Commit(ctx context.Context, prefix []byte, ops []RawOp) error

	// Listen has fn called with the topics of each Update once it is durable,
	// also by other processes where the engine is shared. Calls may come
	// concurrently and may merge several transactions. fn must not block nor
	// call the engine. stop returns once no call is under way.
	Listen(fn func(topics []string)) (stop func())

	// Close waits for what is under way and frees the engine. What is begun
	// after that returns ErrClosed. A second Close returns nil.
	Close() error
}

// Txn is one run of a transaction. It is for one goroutine, and dies when the
// function that received it returns: after that each method gives ErrClosed.
type Txn interface {
	// Get returns the value under key, which the caller may keep and change,
	// or ErrNotFound as it is. It sees the transaction's own writes.
	Get(key []byte) ([]byte, error)

	// Scan calls fn for each pair with from ≤ key < to, in ascending order or,
	// reversed, in descending order, until fn returns false. A nil from or to
	// is no bound. key and value are valid during the call only. The pairs are
	// those of the moment when Scan was called: fn may read and write as it
	// likes, and the scan does not notice.
	Scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) error

	// Set stores value under key. Both are copied.
	Set(key, value []byte) error

	// Delete removes key; a key that is not there is no error.
	Delete(key []byte) error

	// Touch adds topic to those that the engine's listeners are told once
	// this transaction is durable.
	Touch(topic string) error
}

// RawOp is one write of a raw batch: Value stored under Key or, with Delete,
// Key removed.
type RawOp struct {
	Key    []byte
	Value  []byte
	Delete bool
}
