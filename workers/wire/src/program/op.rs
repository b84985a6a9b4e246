//! The instructions of a walk. Runs of like leaves are one instruction.

/// One instruction; positions (`to`, `next`, `body`) are places in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// So many bytes whatever they are: float, double, fixed, and runs of them.
    Skip(u32),
    /// So many leaves of one kind, one after another.
    Booleans(u32),
    Ints(u32),
    Longs(u32),
    Bytes(u32),
    Strings(u32),
    /// An index below this many symbols.
    Enum(u32),
    /// `["null", leaf]` (`null` = 0) or `[leaf, "null"]` (`null` = 1) in one instruction.
    OptionalSkip {
        null: u8,
        size: u32,
    },
    OptionalInt {
        null: u8,
    },
    OptionalLong {
        null: u8,
    },
    OptionalString {
        null: u8,
    },
    /// A union of null and one other: goes on to `to` if null.
    Optional {
        null: u8,
        to: u32,
    },
    /// Any other union: `targets[table + index]` for an index below `branches`.
    Union {
        table: u32,
        branches: u32,
    },
    Jump {
        to: u32,
    },
    /// Blocks of items; the body follows and ends with `End`, `next` is after it. `min` is the least an item
    /// can take, `levels` what this array or map adds to the nesting. With `rewrite`, the counts are written
    /// anew, because the items may change their size.
    Blocks {
        next: u32,
        min: u32,
        levels: u8,
        rewrite: bool,
    },
    /// The same where the body is one instruction that can be run as many times as there are items.
    RunBlocks {
        next: u32,
        min: u32,
        levels: u8,
    },
    /// A record that is used in several places, or in itself.
    Call {
        body: u32,
        levels: u8,
    },
    /// A record written out in place enters this level; only in schemas that can be too deep at all.
    Level(u8),
    /// End of a body.
    End,
    /// Patch: what was passed so far and not yet copied is copied.
    Flush,
    /// Patch: what was passed so far and not yet copied is left out.
    Discard,
    /// Patch: the same, and a null (union index 0) stands in its place.
    DiscardToNull,
    /// A leaf that the task wants to see.
    Leaf(u32),
    /// A wanted leaf that is absent, because an optional above it is null.
    Absent(u32),
}

/// A compiled walk.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) targets: Vec<u32>,
}
