//! Programs by schema id, bounded: the least recently used one makes room.

use std::collections::HashMap;

use sluice_core::SchemaId;

/// A cache of compiled programs.
pub struct ProgramCache<P> {
    capacity: usize,
    clock: u64,
    entries: HashMap<SchemaId, CachedProgram<P>>,
    evicted: u64,
}

struct CachedProgram<P> {
    used: u64,
    program: P,
}

impl<P> ProgramCache<P> {
    /// A cache of at most `capacity` programs (at least one).
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), clock: 0, entries: HashMap::new(), evicted: 0 }
    }

    /// The program for an id, marked as used.
    pub fn get(&mut self, id: SchemaId) -> Option<&P> {
        self.get_mut(id).map(|program| &*program)
    }

    /// The same, for programs that keep scratch space.
    pub fn get_mut(&mut self, id: SchemaId) -> Option<&mut P> {
        self.clock += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.used = self.clock;
        Some(&mut entry.program)
    }

    /// Whether an id is held; does not count as use.
    pub fn contains(&self, id: SchemaId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Holds a program, in place of the least recently used one if the cache is full.
    pub fn insert(&mut self, id: SchemaId, program: P) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&id) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(&id, _)| id);
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
                self.evicted += 1;
            }
        }
        self.clock += 1;
        self.entries.insert(id, CachedProgram { used: self.clock, program });
    }

    /// Programs held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Programs that made room for others; grows quickly where the capacity is too small for the topic.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut programs = ProgramCache::new(2);
        programs.insert(SchemaId(1), "one");
        programs.insert(SchemaId(2), "two");
        assert_eq!(programs.get(SchemaId(1)), Some(&"one"));
        programs.insert(SchemaId(3), "three");
        assert_eq!(programs.get(SchemaId(2)), None);
        assert_eq!(programs.get(SchemaId(1)), Some(&"one"));
        assert_eq!(programs.get(SchemaId(3)), Some(&"three"));
        assert_eq!((programs.len(), programs.evicted()), (2, 1));
    }

    #[test]
    fn the_same_id_again_replaces() {
        let mut programs = ProgramCache::new(1);
        programs.insert(SchemaId(1), "one");
        programs.insert(SchemaId(1), "uno");
        assert_eq!(programs.get(SchemaId(1)), Some(&"uno"));
        assert_eq!((programs.len(), programs.evicted()), (1, 0));
    }
}
