//! What becomes of a slot when its owner changes.
