//! From a transform's outputs to the open transaction: slices of the arena, nothing is allocated on the way.

use sluice_core::{Fault, Header, OutRecord, Outputs};

use crate::receipts::OutcomeCounts;
use sluice_kafka::OutgoingRecord;

/// Outputs with more headers than this take the heap.
const FEW: usize = 16;

/// Hands every output to `send`, in order, and counts it. `routes` are the processor's output topics.
///
/// # Errors
/// As `send`; a bug if an output names a route that does not exist.
#[inline]
pub(super) fn send_all(
    outputs: &Outputs,
    routes: &[String],
    counts: &mut OutcomeCounts,
    mut send: impl FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for out in outputs.iter() {
        let topic = routes
            .get(usize::from(out.route.0))
            .ok_or_else(|| Fault::bug("routing an output", format!("no route {}", out.route.0)))?;
        let mut send_with = |headers: &[Header<'_>]| {
            send(&OutgoingRecord {
                topic,
                partition: None,
                key: out.key,
                value: out.value,
                timestamp_ms: out.timestamp_ms,
                headers,
            })
        };
        if out.has_headers() { with_headers(&out, send_with) } else { send_with(&[]) }?;
        counts.output(out.route.0);
    }
    Ok(())
}

/// Not inlined: room for sixteen headers would be made ready for outputs that have none.
#[inline(never)]
fn with_headers<T>(out: &OutRecord<'_>, with: impl FnOnce(&[Header<'_>]) -> T) -> T {
    let headers = out.headers();
    let count = headers.len();
    let mut few = [Header { name: "", value: None }; FEW];
    match few.get_mut(..count) {
        Some(list) => {
            for (place, header) in list.iter_mut().zip(headers) {
                *place = header;
            }
            with(list)
        }
        None => with(&headers.collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_core::Route;

    #[test]
    fn headers_come_in_order_however_many_they_are() {
        for count in [0, 1, FEW, FEW + 5] {
            let mut outputs = Outputs::new();
            let mut draft = outputs.draft(Route(0));
            for number in 0..count {
                draft.header(&format!("h{number}"), Some(&[u8::try_from(number).unwrap()]));
            }
            draft.emit();
            let out = outputs.iter().next().unwrap();
            let seen = with_headers(&out, |headers| {
                headers
                    .iter()
                    .map(|header| (header.name.to_owned(), header.value.unwrap()[0]))
                    .collect::<Vec<_>>()
            });
            let expected: Vec<_> =
                (0..count).map(|number| (format!("h{number}"), u8::try_from(number).unwrap())).collect();
            assert_eq!(seen, expected);
        }
    }
}
