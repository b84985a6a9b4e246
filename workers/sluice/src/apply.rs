//! `sluice plan` and `sluice apply`: the contracts against the world.
