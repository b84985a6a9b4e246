//! Decides which attempts at which pages meet a fault. Pure: the same seed gives the same faults.

use super::mixed;

/// The fault that an attempt meets instead of its answer, or before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DemoApiFault {
    /// 429 with `Retry-After: 1`.
    TooMany,
    /// 429 with `Retry-After` as an HTTP date.
    TooManyUntil,
    /// 500.
    Broken,
    /// The answer comes after this many milliseconds.
    Slow(u64),
}

/// Returns the fault of one attempt (from 0) at one page (0 = the aircraft itself), if there is one.
///
/// Of 1,000 pages about 1.5 are refused with 429, 4 with 500 and 6 are slow at the first attempt; of the
/// refused ones a quarter is refused a second time. A third attempt always gets through.
pub(crate) fn fault(seed: u64, tail: &str, page: u64, attempt: u32) -> Option<DemoApiFault> {
    let dice = mixed(seed, &[b"fault", tail.as_bytes(), &page.to_be_bytes()]);
    let kind = match dice % 10_000 {
        0..11 => DemoApiFault::TooMany,
        11..15 => DemoApiFault::TooManyUntil,
        15..55 => DemoApiFault::Broken,
        55..115 => DemoApiFault::Slow(200 + (dice >> 32) % 200),
        _ => return None,
    };
    let again = (dice >> 20).is_multiple_of(4) && !matches!(kind, DemoApiFault::Slow(_));
    (attempt == 0 || (attempt == 1 && again)).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_occur_and_the_third_attempt_gets_through() {
        let tails: Vec<String> = (0..4_000).map(|number| format!("N{number}")).collect();
        let met = |attempt| -> Vec<DemoApiFault> {
            tails
                .iter()
                .flat_map(|tail| (0..3).filter_map(move |page| fault(2013, tail, page, attempt)))
                .collect()
        };
        let (first, second) = (met(0), met(1));
        for kind in [DemoApiFault::TooMany, DemoApiFault::TooManyUntil, DemoApiFault::Broken] {
            assert!(first.contains(&kind), "{kind:?}");
        }
        assert!(first.iter().any(|fault| matches!(fault, DemoApiFault::Slow(_))));
        assert!(!second.is_empty() && second.len() < first.len());
        assert!(met(2).is_empty());
        assert_eq!(first, met(0));
    }
}
