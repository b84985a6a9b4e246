//! Reads the contracts' folder; everything that is decided about them is in `sluice-contract`.
