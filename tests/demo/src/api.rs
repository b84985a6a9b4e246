//! The external API that the collector asks: an HTTP service that behaves as real ones do.
//!
//! ```text
//! GET /v1/aircraft/{tail}                    the aircraft, or 404
//! GET /v1/aircraft/{tail}/flights?page=N     {"data": […], "page": 1, "pages": 3, "next": "/v1/…?page=2" | null}
//! GET /stats                                 counts of requests and answers so far
//! ```
//! Pages hold 50 flights, newest first, numbered from 1. Every request needs the bearer token. Answers are
//! gzip-compressed for clients that accept it. A seed decides which first attempts are refused (429 with
//! Retry-After, 500) or slow, and which pages hold one of the few extra records that break the schema.

mod breakage;
mod faults;
mod page;
mod serve;

pub(crate) use breakage::BROKEN;
pub(crate) use serve::{DemoApiOptions, serve};

/// Hashes the parts: FNV-1a, then a finaliser (splitmix64). The result is the same on every machine and in
/// every version.
pub(crate) fn mixed(seed: u64, parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for part in parts {
        for byte in part.iter().chain(b"\xff") {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
