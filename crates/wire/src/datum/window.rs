//! A window of 32 bytes: the places where varints end in it, as the bits of a word.

use super::varint::MORE;

/// Bytes in a window.
pub(crate) const WINDOW: usize = 32;

/// The bytes in front of a reader.
#[derive(Clone, Copy)]
pub(crate) struct VarintWindow<'d> {
    bytes: &'d [u8; WINDOW],
    /// Bytes of the window that the reader has passed already.
    before: usize,
    /// Bit n: byte n from the reader ends a varint, because it is below 0x80. One more bit is set behind the
    /// last byte. It is left over if, and only if, the window had enough other ends.
    pub(crate) ends: u64,
}

impl<'d> VarintWindow<'d> {
    /// Makes the window at `at`. Near the end of the data the window begins earlier. `None` if the data is
    /// too short.
    #[inline(always)]
    pub(crate) fn at(data: &'d [u8], at: usize) -> Option<Self> {
        // The window is always a whole one: at the end of the data it takes bytes before the reader.
        let rest = data.get(at..)?;
        let (bytes, len) = match rest.first_chunk() {
            Some(bytes) => (bytes, WINDOW),
            None => (data.last_chunk()?, rest.len()),
        };
        // Bits before the reader are shifted out, and the extra end is set behind the last byte.
        let before = WINDOW - len;
        Some(Self { bytes, before, ends: u64::from(ends(bytes)) >> before | 1 << len })
    }

    /// Returns the nth byte from the reader, for an n within the window.
    #[inline(always)]
    pub(crate) fn byte(self, n: u32) -> u8 {
        // The remainder proves to the compiler that the index is within bounds.
        self.bytes[(self.before + n as usize) % WINDOW]
    }
}

/// Returns the ends as bits: bit n is set if byte n is below 0x80.
#[inline(always)]
fn ends(bytes: &[u8; WINDOW]) -> u32 {
    // The product gathers the lowest bits of eight bytes in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (words, _) = bytes.as_chunks::<8>();

    // Eight bytes at a time, the last ones first: they become the highest bits.
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
