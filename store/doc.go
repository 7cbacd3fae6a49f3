// Package store keeps typed tables with secondary indexes in an ordered,
// transactional key-value engine.
//
// It owns the layout of keys, the encoding of rows, the versions of both, and
// the rules by which an index follows its table. It does not own durability or
// isolation: those are the [Engine]'s, and each engine proves them with the
// suite in store/storetest. store/pebblekv is the embedded engine.
//
// What always holds:
//   - When [DB.Update] returns nil the transaction survives a crash, and it ran
//     as if it had been alone (serializable).
//   - [DB.View] never shows a transaction that a crash could still take away.
//   - An index entry exists exactly when its row does, in the same transaction.
//   - A store written by newer code is refused, not misread ([ErrNewer]).
//
// A transaction's function may run more than once, so it must have no effect
// but its reads, its writes and the variables that it sets on every run.
package store
