//! Compressed bodies. A body of gzip can have several members (RFC 1952, 2.2), all of which are read. The pieces that come
//! out are bounded, however far a small body unpacks.

use std::io::{Error, ErrorKind, Write as _};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::write::MultiGzDecoder;

/// The size of a piece, in bytes. One is at most twice as large.
const PIECE: usize = 64 << 10;
/// The first bytes of a member.
const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Unpacks one body.
#[derive(Default)]
pub(super) struct GzipUnpacker {
    /// What has arrived and was not unpacked yet.
    packed: BytesMut,
    state: UnpackState,
}

#[derive(Default)]
enum UnpackState {
    /// Nothing was looked at yet.
    #[default]
    Begin,
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// The body is not compressed, whatever its header says.
    Plain,
}

impl GzipUnpacker {
    /// Takes bytes that have arrived.
    pub(super) fn feed(&mut self, packed: Bytes) {
        self.packed.extend_from_slice(&packed);
    }

    /// Returns the next piece of what has arrived; `None` if more has to arrive first.
    ///
    /// # Errors
    /// The body is no gzip.
    pub(super) fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        // Two bytes tell what it is.
        if matches!(self.state, UnpackState::Begin) {
            if self.packed.len() < MAGIC.len() {
                return Ok(None);
            }
            self.state = match self.packed.starts_with(&MAGIC) {
                true => UnpackState::Gzip(MultiGzDecoder::new(Vec::new())),
                false => UnpackState::Plain,
            };
        }

        let Self { packed, state } = self;
        match state {
            UnpackState::Begin => Ok(None),
            UnpackState::Plain if packed.is_empty() => Ok(None),
            UnpackState::Plain => Ok(Some(packed.split().freeze())),
            UnpackState::Gzip(decoder) => {
                while !packed.is_empty() && decoder.get_ref().len() < PIECE {
                    // Zeros behind the last member fill a block, for example of a tape.
                    if packed.iter().all(|byte| *byte == 0) && decoder.try_finish().is_ok() {
                        packed.clear();
                        break;
                    }
                    match decoder.write(packed)? {
                        0 => return Err(ErrorKind::InvalidData.into()),
                        used => packed.advance(used),
                    }
                }
                let piece = std::mem::take(decoder.get_mut());
                Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
            }
        }
    }

    /// Ends the body. Returns its last piece.
    ///
    /// # Errors
    /// The last member is not complete.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.state {
            // A body of one byte is no gzip.
            UnpackState::Begin | UnpackState::Plain => {
                Ok((!self.packed.is_empty()).then(|| self.packed.split().freeze()))
            }
            UnpackState::Gzip(decoder) => {
                decoder.try_finish()?;
                let piece = std::mem::take(decoder.get_mut());
                self.state = UnpackState::Plain;
                Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The unpacked body, fed in pieces, and the largest piece that came out.
    fn unpacked(body: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Error> {
        let (mut unpacker, mut out, mut largest) = (GzipUnpacker::default(), Vec::new(), 0);
        for chunk in body.chunks(piece) {
            unpacker.feed(Bytes::copy_from_slice(chunk));
            while let Some(piece) = unpacker.next_piece()? {
                largest = largest.max(piece.len());
                out.extend_from_slice(&piece);
            }
        }
        out.extend(unpacker.finish()?.unwrap_or_default());
        Ok((out, largest))
    }

    #[test]
    fn every_member_is_unpacked_however_the_body_is_cut() {
        let two = [gzip(b"{\"data\":"), gzip(b"[1,2]}")].concat();
        let padded = [two.clone(), vec![0; 512]].concat();
        for body in [two, padded, b"{\"data\":[1,2]}".to_vec()] {
            for piece in [1, 2, 7, 1_000] {
                assert_eq!(unpacked(&body, piece).unwrap().0, b"{\"data\":[1,2]}", "{piece}");
            }
        }
        assert_eq!(unpacked(b"", 1).unwrap().0, b"");
        assert_eq!(unpacked(b"1", 1).unwrap().0, b"1");
    }

    #[test]
    fn a_body_that_breaks_off_or_is_no_gzip_is_an_error() {
        let body = gzip(b"{\"data\":[1,2]}");
        for length in 3..body.len() {
            assert!(unpacked(&body[..length], 5).is_err(), "{length} of {} bytes", body.len());
        }
        assert!(unpacked(&[&MAGIC[..], b"nothing of the kind"].concat(), 100).is_err());
    }

    #[test]
    fn a_small_body_that_unpacks_to_a_large_one_comes_in_small_pieces() {
        let (out, largest) = unpacked(&gzip(&vec![b' '; 64 << 20]), 1 << 20).unwrap();
        assert_eq!(out.len(), 64 << 20);
        assert!(largest <= 2 * PIECE, "{largest}");
    }
}
