//! Pseudonyms: HMAC-SHA-256 (RFC 2104, FIPS 198-1) under a key, its epoch and a domain.
//!
//! ```text
//!  text  =  <epoch> ":" base64url( first 16 bytes of HMAC-SHA-256( key_epoch, domain || 0x00 || leaf ) )
//! ```
//!
//! The same leaf in the same domain has the same pseudonym in every topic, so that joins work. In another
//! domain it has another pseudonym, so that unrelated columns cannot be joined. A number is hashed as its
//! decimal text, so that an id that is a `long` in one topic and a `string` in another can be joined, too.

use std::borrow::Cow;
use std::io::Write as _;

use ::hmac::{Hmac, KeyInit, Mac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::Sha256;
use sluice_wire::{LeafFn, LeafKind, LeafType, LeafValue, LeafWriter, LogicalType};

use super::keys::{KeyError, KeyRing};

/// Bytes of the MAC that go into the text: 128 bits, so that a collision among 2⁴⁰ values is unlikely.
const MAC_BYTES: usize = 16;
/// Characters of these bytes in base64 without padding.
const TEXT_BYTES: usize = 22;

/// The settings of a pseudonym in a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PseudonymRule {
    /// Name of the key.
    pub key: String,
    /// The domain: equal values of one domain have the same pseudonym in all topics and fields.
    pub domain: String,
    /// The epoch of the key; `None` is the latest one in the key ring.
    pub epoch: Option<u32>,
}

impl PseudonymRule {
    /// Returns the type of the pseudonym, which is a string.
    ///
    /// # Errors
    /// Returns the reason why a leaf of this type has no pseudonym.
    pub(crate) fn output(&self, input: &LeafType) -> Result<Value, String> {
        // Only types whose values have exactly one text. A decimal or a float can have several.
        let refused = match (input.kind, input.logical) {
            (_, Some(LogicalType::Decimal { .. } | LogicalType::BigDecimal)) => Some("a decimal"),
            (LeafKind::String | LeafKind::Bytes | LeafKind::Fixed, _) => None,
            (LeafKind::Int | LeafKind::Long | LeafKind::Enum, _) => None,
            (LeafKind::Null | LeafKind::Boolean | LeafKind::Float | LeafKind::Double, _) => {
                Some(input.kind.as_str())
            }
        };
        match refused {
            None => Ok(json!("string")),
            Some(kind) => Err(format!("hmac cannot be applied to {kind}: use drop, null or generalise")),
        }
    }
}

/// The MAC of a key after it has taken in the domain. It is cloned for every leaf, so that key and domain are
/// hashed once only.
pub(crate) struct PseudonymFn {
    state: Hmac<Sha256>,
    /// The epoch and a colon.
    prefix: String,
}

impl PseudonymFn {
    /// Returns the function for a rule.
    ///
    /// # Errors
    /// The key ring does not have the key.
    pub(crate) fn new(pseudonym: &PseudonymRule, keys: &KeyRing) -> Result<Self, KeyError> {
        let (epoch, secret) = keys.find(&pseudonym.key, pseudonym.epoch)?;
        // HMAC takes keys of any length, and the ring has checked it: the error is a formality.
        let mut state = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::TooShort {
            name: pseudonym.key.clone(),
            epoch,
            length: secret.len(),
        })?;

        // A domain has no NUL, so that no other domain and leaf make the same input.
        state.update(pseudonym.domain.as_bytes());
        state.update(&[0]);
        Ok(Self { state, prefix: format!("{epoch}:") })
    }

    /// Appends the pseudonym of a text as plain bytes, without Avro's length.
    pub(crate) fn append(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Cow<'static, str>> {
        let pseudonym = self.text(text)?;
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(&pseudonym);
        Ok(())
    }

    /// Returns the 22 characters for one leaf.
    fn text(&self, leaf: &[u8]) -> Result<[u8; TEXT_BYTES], Cow<'static, str>> {
        let mut state = self.state.clone();
        state.update(leaf);
        let mac = state.finalize().into_bytes();
        let mut text = [0u8; TEXT_BYTES];
        match URL_SAFE_NO_PAD.encode_slice(&mac[..MAC_BYTES], &mut text) {
            Ok(TEXT_BYTES) => Ok(text),
            // 16 bytes always make 22 characters.
            _ => Err("a pseudonym of 22 characters".into()),
        }
    }
}

impl LeafFn for PseudonymFn {
    fn output(&self, _input: &LeafType) -> Result<Value, String> {
        // `PseudonymRule::output` has checked the type, before there were keys.
        Ok(json!("string"))
    }

    fn apply(&self, leaf: LeafValue<'_>, out: &mut LeafWriter<'_>) -> Result<(), Cow<'static, str>> {
        // The text of the leaf. A number has its decimal text, so that it joins with a string.
        let text = match leaf {
            LeafValue::String(text) => self.text(text.as_bytes())?,
            LeafValue::Bytes(bytes) | LeafValue::Fixed(bytes) => self.text(bytes)?,
            LeafValue::Enum { symbol, .. } => self.text(symbol.as_bytes())?,
            LeafValue::Int(number) => self.text(DecimalText::of(number.into()).as_bytes())?,
            LeafValue::Long(number) => self.text(DecimalText::of(number).as_bytes())?,
            LeafValue::Null | LeafValue::Boolean(_) | LeafValue::Float(_) | LeafValue::Double(_) => {
                return Err("a string, bytes, an integer or an enum".into());
            }
        };
        out.string_parts(&[self.prefix.as_bytes(), &text]);
        Ok(())
    }

    fn name(&self) -> &str {
        "hmac"
    }
}

/// The decimal text of an integer, on the stack.
pub(crate) struct DecimalText {
    buffer: [u8; 20],
    length: usize,
}

impl DecimalText {
    /// Writes the text of a number.
    pub(crate) fn of(number: i64) -> Self {
        let mut buffer = [0u8; 20];
        let mut rest = &mut buffer[..];
        let written = write!(rest, "{number}");
        debug_assert!(written.is_ok(), "twenty bytes hold any i64: a sign and nineteen digits");
        let length = 20 - rest.len();
        Self { buffer, length }
    }

    /// Returns the text as ASCII bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 4231, section 4: key, data, HMAC-SHA-256 (case 5 is truncated to 128 bits there).
    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        let long = "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579204669727374";
        let longer = "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b657920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565647320746f20626520686173686564206265666f7265206265696e6720757365642062792074686520484d414320616c676f726974686d2e";
        let cases = [
            (
                "0b".repeat(20),
                "4869205468657265".to_owned(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                "4a656665".to_owned(),
                "7768617420646f2079612077616e7420666f72206e6f7468696e673f".to_owned(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                "aa".repeat(20),
                "dd".repeat(50),
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                "0102030405060708090a0b0c0d0e0f10111213141516171819".to_owned(),
                "cd".repeat(50),
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                "0c".repeat(20),
                "546573742057697468205472756e636174696f6e".to_owned(),
                "a3b6167473100ee06e0c796c2955552b",
            ),
            (
                "aa".repeat(131),
                long.to_owned(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                "aa".repeat(131),
                longer.to_owned(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, mac) in cases {
            let state = Hmac::<Sha256>::new_from_slice(&from_hex(&key)).unwrap();
            // Through a clone of a primed state, as the masker does it.
            let masking = PseudonymFn { state, prefix: "1:".into() };
            let expected = URL_SAFE_NO_PAD.encode(&from_hex(mac)[..MAC_BYTES]);
            assert_eq!(masking.text(&from_hex(&data)).unwrap(), expected.as_bytes());
        }
    }

    /// RFC 4231 case 6 through the front door: a key longer than a block, domain and separator included.
    #[test]
    fn the_text_is_epoch_and_sixteen_bytes_over_domain_nul_leaf() {
        let mut keys = KeyRing::new();
        let secret: Vec<u8> = (0..64).collect();
        keys.insert("pseudonym", 3, Zeroizing::new(secret.clone())).unwrap();
        let spec = PseudonymRule { key: "pseudonym".into(), domain: "tailnum".into(), epoch: None };
        let masking = PseudonymFn::new(&spec, &keys).unwrap();
        let mut out = Vec::new();
        masking.apply(LeafValue::String("N14228"), &mut LeafWriter::new(&mut out)).unwrap();

        let mut plain = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        plain.update(b"tailnum\0N14228");
        let expected = format!("3:{}", URL_SAFE_NO_PAD.encode(&plain.finalize().into_bytes()[..16]));
        assert_eq!(out[0] as usize, expected.len() * 2);
        assert_eq!(&out[1..], expected.as_bytes());
    }

    #[test]
    fn a_number_hashes_as_its_text() {
        for number in [0, -1, 42, i64::MIN, i64::MAX] {
            assert_eq!(DecimalText::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
