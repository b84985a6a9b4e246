//! Every run has a seed, says it, and can be repeated with it.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// The generator of a run's random choices: from a given seed, from `$SEED`, or from one that is drawn; it is printed.
pub fn seeded(run: &str, given: Option<u64>) -> (u64, StdRng) {
    let given = given.or_else(|| std::env::var("SEED").ok().and_then(|text| text.parse().ok()));
    let seed = given.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("{run}: SEED={seed}");
    (seed, of(run, seed))
}

/// The generator for a seed; runs of different names draw differently from the same seed.
pub fn of(run: &str, seed: u64) -> StdRng {
    // FNV-1a: the same in every build, unlike std's hasher.
    let name = run.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    StdRng::seed_from_u64(seed ^ name)
}
