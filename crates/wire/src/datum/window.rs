//! Thirty-two bytes at once: where varints end in them, as the bits of a word.

use super::varint::MORE;

/// Bytes looked at.
pub(crate) const WINDOW: usize = 32;

/// What stands before a reader.
#[derive(Clone, Copy)]
pub(crate) struct VarintWindow<'d> {
    bytes: &'d [u8; WINDOW],
    /// Bytes of it that the reader has passed already.
    before: usize,
    /// Bit n: byte n from the reader ends a varint, being below 0x80. One more end stands behind the last byte:
    /// it is left over if, and only if, there were enough others.
    pub(crate) ends: u64,
}

impl<'d> VarintWindow<'d> {
    /// From `at`; near the end of the data the window begins earlier. `None` if there are too few bytes.
    #[inline(always)]
    pub(crate) fn at(data: &'d [u8], at: usize) -> Option<Self> {
        let rest = data.get(at..)?;
        let (bytes, len) = match rest.first_chunk() {
            Some(bytes) => (bytes, WINDOW),
            None => (data.last_chunk()?, rest.len()),
        };
        let before = WINDOW - len;
        Some(Self { bytes, before, ends: u64::from(ends(bytes)) >> before | 1 << len })
    }

    /// The nth byte from the reader, for an n within the window.
    #[inline(always)]
    pub(crate) fn byte(self, n: u32) -> u8 {
        self.bytes[(self.before + n as usize) % WINDOW]
    }
}

#[inline(always)]
fn ends(bytes: &[u8; WINDOW]) -> u32 {
    // Multiplied by this, the lowest bits of eight bytes meet in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().rev().fold(0, |bits, word| {
        let low = (!u64::from_le_bytes(*word) & MORE) >> 7;
        bits << 8 | (low.wrapping_mul(GATHER) >> 56) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_the_bytes_that_do_not_go_on() {
        for bit in 0..WINDOW {
            let mut bytes = [0x80; WINDOW];
            bytes[bit] = 0x7f;
            assert_eq!(ends(&bytes), 1 << bit);
            assert_eq!(ends(&bytes.map(|byte| !byte)), !(1 << bit));
        }
    }

    #[test]
    fn from_every_place() {
        let data: Vec<u8> = (0..50).map(|n| if n % 3 == 0 { n } else { 0x80 | n }).collect();
        for at in 0..=data.len() {
            let window = VarintWindow::at(&data, at).unwrap();
            let len = WINDOW.min(data.len() - at);
            assert_eq!(window.ends >> len, 1);
            for n in 0..len {
                assert_eq!(window.byte(n as u32), data[at + n]);
                assert_eq!(window.ends >> n & 1 == 1, data[at + n] < 0x80);
            }
        }
        assert!(VarintWindow::at(&data, 51).is_none());
        assert!(VarintWindow::at(&data[..31], 0).is_none());
    }
}
