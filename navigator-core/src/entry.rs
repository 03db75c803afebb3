//! One registry entry: parsed, validated, or refused with a named reason.
