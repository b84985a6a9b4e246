//! Masking keys by name and epoch. The workers fetch them from files or a KMS; this crate never does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Least number of bytes of a key: the size of a SHA-256 hash (RFC 2104, section 3).
pub const KEY_BYTES_MIN: usize = 32;

/// Least number of different bytes of a key. A random key of 32 bytes has about 30; one with fewer than 16 does
/// not occur in the age of the universe.
const DIFFERENT_BYTES_MIN: usize = 16;
/// Bytes of a block of SHA-256. HMAC pads a key with zeros up to it, and hashes a longer one.
const BLOCK_BYTES: usize = 64;

/// The secret of one key. Its memory is wiped when the last ring that holds it is dropped.
type KeySecret = Arc<Zeroizing<Vec<u8>>>;

/// Named keys, each in one or more epochs. Cloning shares the secrets; dropping the last clone wipes them.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: BTreeMap<String, BTreeMap<u32, KeySecret>>,
}

/// The reason why a key was refused or not found. Never holds bytes of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key is shorter than [`KEY_BYTES_MIN`].
    #[error("key `{name}` epoch {epoch} has {length} bytes, expected at least {KEY_BYTES_MIN}")]
    TooShort {
        /// Name of the key.
        name: String,
        /// Its epoch.
        epoch: u32,
        /// Number of its bytes.
        length: usize,
    },
    /// The key repeats one byte: it is a placeholder, not a secret.
    #[error("key `{name}` epoch {epoch} is one byte repeated, not a secret")]
    Placeholder {
        /// Name of the key.
        name: String,
        /// Its epoch.
        epoch: u32,
    },
    /// The key has too few different bytes: it is a pattern or a text, not a secret.
    #[error(
        "key `{name}` epoch {epoch} has {different} different bytes, expected at least {DIFFERENT_BYTES_MIN} \
         of a random secret"
    )]
    Pattern {
        /// Name of the key.
        name: String,
        /// Its epoch.
        epoch: u32,
        /// Number of its different bytes.
        different: usize,
    },
    /// Another key or epoch has the same secret.
    #[error(
        "key `{name}` epoch {epoch} has the same secret as key `{other}` epoch {other_epoch}: an epoch or a name \
         of its own needs a secret of its own"
    )]
    SameSecret {
        /// Name of the key.
        name: String,
        /// Its epoch.
        epoch: u32,
        /// Name of the other key.
        other: String,
        /// Epoch of the other key.
        other_epoch: u32,
    },
    /// The same name and epoch were given twice.
    #[error("key `{name}` epoch {epoch} is given twice")]
    Twice {
        /// Name of the key.
        name: String,
        /// Its epoch.
        epoch: u32,
    },
    /// The ring has no key with this name.
    #[error("no key `{name}` in the key ring; it has: {known}")]
    Unknown {
        /// Name of the missing key.
        name: String,
        /// Names in the ring, comma-separated.
        known: String,
    },
    /// The ring has the key, but not in this epoch.
    #[error("key `{name}` has no epoch {epoch} in the key ring")]
    UnknownEpoch {
        /// Name of the key.
        name: String,
        /// The missing epoch.
        epoch: u32,
    },
}

impl KeyRing {
    /// Returns a ring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    ///
    /// # Errors
    /// The key is too short, a placeholder or a pattern, or the ring has this name and epoch or this secret
    /// already.
    pub fn insert(&mut self, name: &str, epoch: u32, secret: Zeroizing<Vec<u8>>) -> Result<(), KeyError> {
        // Refuse weak keys: pseudonyms under a guessable key can be reversed by trying all values.
        let name = name.to_owned();
        if secret.len() < KEY_BYTES_MIN {
            return Err(KeyError::TooShort { name, epoch, length: secret.len() });
        }
        if secret.iter().all(|byte| Some(byte) == secret.first()) {
            return Err(KeyError::Placeholder { name, epoch });
        }

        let different = secret.iter().collect::<BTreeSet<_>>().len();
        if different < DIFFERENT_BYTES_MIN {
            return Err(KeyError::Pattern { name, epoch, different });
        }

        // An epoch with the secret of another one changes nothing, and two names with one secret join what
        // they should keep apart.
        for (other, epochs) in &self.keys {
            for (other_epoch, known) in epochs {
                let is_itself = *other == name && *other_epoch == epoch;
                if !is_itself && effective(known) == effective(&secret) {
                    let (other, other_epoch) = (other.clone(), *other_epoch);
                    return Err(KeyError::SameSecret { name, epoch, other, other_epoch });
                }
            }
        }

        // A second secret for one epoch would change pseudonyms that were published under it.
        let epochs = self.keys.entry(name.clone()).or_default();
        if epochs.contains_key(&epoch) {
            return Err(KeyError::Twice { name, epoch });
        }
        epochs.insert(epoch, Arc::new(secret));
        Ok(())
    }

    /// Returns the given epoch, or the latest one, with its secret.
    pub(crate) fn find(&self, name: &str, epoch: Option<u32>) -> Result<(u32, &[u8]), KeyError> {
        let Some(epochs) = self.keys.get(name) else {
            let known = self.keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(KeyError::Unknown { name: name.to_owned(), known });
        };
        let found = match epoch {
            Some(epoch) => epochs.get_key_value(&epoch),
            None => epochs.last_key_value(),
        };

        // `insert` makes no name without an epoch, so that only a given epoch can be missing.
        debug_assert!(found.is_some() || epoch.is_some(), "every name has an epoch");
        match found {
            Some((epoch, secret)) => Ok((*epoch, secret.as_slice())),
            None => Err(KeyError::UnknownEpoch { name: name.to_owned(), epoch: epoch.unwrap_or_default() }),
        }
    }
}

/// Returns the bytes that HMAC makes of a key (RFC 2104, section 2): a long key is hashed, and zeros at the end
/// do not count.
fn effective(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = match secret.len() > BLOCK_BYTES {
        true => Zeroizing::new(Sha256::digest(secret).to_vec()),
        false => Zeroizing::new(secret.to_vec()),
    };
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(length);
    bytes
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and epochs only: a derived form would print the secrets.
        let mut map = f.debug_map();
        for (name, epochs) in &self.keys {
            for epoch in epochs.keys() {
                map.entry(&format_args!("{name}/{epoch}"), &"***");
            }
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u8, length: usize) -> Zeroizing<Vec<u8>> {
        Zeroizing::new((0..length).map(|i| seed.wrapping_add(i as u8)).collect())
    }

    #[test]
    fn the_latest_epoch_is_used_unless_one_is_named() {
        let mut ring = KeyRing::new();
        ring.insert("pseudonym", 1, secret(1, 32)).unwrap();
        ring.insert("pseudonym", 2, secret(2, 32)).unwrap();
        assert_eq!(ring.find("pseudonym", None).unwrap().0, 2);
        assert_eq!(ring.find("pseudonym", Some(1)).unwrap().0, 1);
        let missing = KeyError::UnknownEpoch { name: "pseudonym".into(), epoch: 3 };
        assert_eq!(ring.find("pseudonym", Some(3)).unwrap_err(), missing);
        let unknown = KeyError::Unknown { name: "other".into(), known: "pseudonym".into() };
        assert_eq!(ring.find("other", None).unwrap_err(), unknown);
    }

    #[test]
    fn weak_keys_are_refused() {
        let mut ring = KeyRing::new();
        assert!(matches!(ring.insert("k", 1, secret(1, 31)), Err(KeyError::TooShort { length: 31, .. })));
        assert!(matches!(
            ring.insert("k", 1, Zeroizing::new(vec![7; 32])),
            Err(KeyError::Placeholder { .. })
        ));
        ring.insert("k", 1, secret(1, 32)).unwrap();
        assert!(matches!(ring.insert("k", 1, secret(9, 32)), Err(KeyError::Twice { .. })));
    }

    #[test]
    fn a_pattern_is_not_a_secret() {
        let mut ring = KeyRing::new();
        let mut one = vec![0; 32];
        one[31] = 1;
        let text = b"passwordpasswordpasswordpassword".to_vec();
        let words: Vec<u8> = (0..64).map(|i| i % 8).collect();
        for weak in [one, text, words, [vec![0xff; 31], vec![0xfe]].concat()] {
            let refused = ring.insert("k", 1, Zeroizing::new(weak));
            assert!(matches!(refused, Err(KeyError::Pattern { .. })), "{refused:?}");
        }
    }

    #[test]
    fn one_secret_has_one_name_and_one_epoch() {
        let mut ring = KeyRing::new();
        ring.insert("a", 1, secret(1, 32)).unwrap();
        ring.insert("a", 2, secret(2, 80)).unwrap();
        let padded = Zeroizing::new([&secret(1, 32)[..], &[0, 0]].concat());
        let hashed = Zeroizing::new(Sha256::digest(&secret(2, 80)[..]).to_vec());
        let cases = [("a", 3, secret(1, 32)), ("b", 1, secret(1, 32)), ("b", 1, padded), ("b", 1, hashed)];
        for (name, epoch, same) in cases {
            let refused = ring.insert(name, epoch, same);
            assert!(matches!(refused, Err(KeyError::SameSecret { .. })), "{name} {epoch}: {refused:?}");
        }
        ring.insert("b", 1, secret(3, 32)).unwrap();
    }

    #[test]
    fn debug_shows_names_and_never_bytes() {
        let mut ring = KeyRing::new();
        ring.insert("pseudonym", 2, Zeroizing::new(b"abcdefghijklmnopqrstuvwxyz012345".to_vec())).unwrap();
        assert_eq!(format!("{ring:?}"), r#"{pseudonym/2: "***"}"#);
    }
}
