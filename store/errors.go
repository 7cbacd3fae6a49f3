package store

import "errors"

// The errors that a caller branches on, with [errors.Is]. What is returned
// wraps them with the table and key, the file, or the versions concerned.
var (
	// ErrNotFound says that no row, entry or key is stored under the key.
	ErrNotFound = errors.New("not found")

	// ErrExists says that another row holds the primary key or the unique
	// index key that a write asked for.
	ErrExists = errors.New("already exists")

	// ErrReadOnly says that a View's transaction was asked to write.
	ErrReadOnly = errors.New("transaction is read-only")

	// ErrClosed says that the store is closed, or that a transaction was used
	// after its function had returned.
	ErrClosed = errors.New("store is closed")

	// ErrFailed says that the engine could not write or sync and has stopped
	// for good. Whether the failed transaction survives is known only once the
	// store has been opened again, which takes a new process.
	ErrFailed = errors.New("store has failed")

	// ErrNewer says that a newer program wrote the store, the table or the row.
	// The remedy is to run that newer program.
	ErrNewer = errors.New("written by a newer version")

	// ErrOlder says that the store is of an older format, which [Upgrade]
	// would bring up to date, or so old that no upgrade is known.
	ErrOlder = errors.New("written by an older version")

	// ErrUnknownTable says that a table was used with a DB which was not opened
	// with it.
	ErrUnknownTable = errors.New("table is not part of this store")
)
