//! A broker that asks who one is: logging in by SCRAM, by token and over TLS; hosted clusters; permissions from the contracts, each
//! needed and none beyond; operators; `apply` broken off in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apply;
mod clusters;
mod collector;
mod fleet;
mod front;
mod login;
mod operators;
mod parts;
mod permissions;
