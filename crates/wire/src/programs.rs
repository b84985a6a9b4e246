//! Programs by schema id in a bounded cache. The least recently used program makes room for a new one.

use std::collections::HashMap;

use sluice_core::SchemaId;

/// A cache of compiled programs by schema id.
pub struct ProgramCache<P> {
    capacity: usize,
    /// Counts accesses; the time of a least-recently-used order.
    clock: u64,
    entries: HashMap<SchemaId, CachedProgram<P>>,
    evicted: u64,
}

/// A program and the clock's reading at its last use.
struct CachedProgram<P> {
    used: u64,
    program: P,
}

impl<P> ProgramCache<P> {
    /// Makes a cache of at most `capacity` programs (at least one).
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), clock: 0, entries: HashMap::new(), evicted: 0 }
    }

    /// Returns the program for an id and marks it as used.
    pub fn get(&mut self, id: SchemaId) -> Option<&P> {
        self.get_mut(id).map(|program| &*program)
    }

    /// Returns the program for an id and marks it as used; for programs that keep scratch space.
    pub fn get_mut(&mut self, id: SchemaId) -> Option<&mut P> {
        self.clock += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.used = self.clock;
        Some(&mut entry.program)
    }

    /// Tells whether the cache has a program for the id. The look does not count as a use.
    pub fn contains(&self, id: SchemaId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Adds a program. In a full cache it takes the place of the least recently used one.
    pub fn insert(&mut self, id: SchemaId, program: P) {
        // A program for an id that is present replaces the old one and needs no room.
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&id) {
            // A scan is enough: it runs once per new schema, not once per record.
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(&id, _)| id);
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
                self.evicted += 1;
            }
        }

        self.clock += 1;
        self.entries.insert(id, CachedProgram { used: self.clock, program });
    }

    /// Returns the number of programs in the cache.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many programs made room for others. The number grows quickly if the capacity is too small
    /// for the topic.
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
