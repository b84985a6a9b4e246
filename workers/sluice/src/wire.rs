//! `sluice wire`: single records, for whoever holds a poison one.
