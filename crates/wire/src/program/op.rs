//! The instructions of a walk. Runs of like leaves are one instruction.

/// One instruction; positions (`to`, `next`, `body`) are places in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkInstruction {
    /// So many bytes whatever they are: float, double, fixed, and runs of them.
    Skip(u32),
    /// So many leaves of one kind, one after another.
    Booleans(u32),
    Ints(u32),
    Longs(u32),
    Bytes(u32),
    Strings(u32),
    /// Three or more `int`s in a row, of which some are optional: bit n of `optional` is the nth's.
    MixedInts {
        count: u8,
        null: u8,
        optional: u16,
    },
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
    /// can take, `levels` what this array or map adds to the nesting. With `rewrite`, sizes in bytes are left
    /// out, because the items may change theirs.
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
pub(crate) struct WalkProgram {
    pub(crate) ops: Vec<WalkInstruction>,
    pub(crate) targets: Vec<u32>,
}

/// `int`s that one [`WalkInstruction::MixedInts`] takes: with three bytes each, they are within its window of 32.
const MOST_INTS: u8 = 10;

/// Two instructions as one, where there is such a one.
pub(crate) fn merge(before: WalkInstruction, op: WalkInstruction) -> Option<WalkInstruction> {
    Some(match (before, op) {
        (WalkInstruction::Skip(a), WalkInstruction::Skip(b)) => WalkInstruction::Skip(a.checked_add(b)?),
        (WalkInstruction::Booleans(a), WalkInstruction::Booleans(b)) => WalkInstruction::Booleans(a + b),
        (WalkInstruction::Ints(a), WalkInstruction::Ints(b)) => WalkInstruction::Ints(a + b),
        (WalkInstruction::Longs(a), WalkInstruction::Longs(b)) => WalkInstruction::Longs(a + b),
        (WalkInstruction::Bytes(a), WalkInstruction::Bytes(b)) => WalkInstruction::Bytes(a + b),
        (WalkInstruction::Strings(a), WalkInstruction::Strings(b)) => WalkInstruction::Strings(a + b),
        _ => mixed(before, op)?,
    })
}

fn mixed(before: WalkInstruction, op: WalkInstruction) -> Option<WalkInstruction> {
    let (before, before_optional, before_null) = ints(before)?;
    let (count, optional, null) = ints(op)?;
    let sum = before.checked_add(count).filter(|&sum| sum <= MOST_INTS)?;
    let null = match (before_null, null) {
        (Some(one), Some(other)) if one != other => return None,
        (one, other) => one.or(other)?,
    };
    Some(WalkInstruction::MixedInts { count: sum, null, optional: before_optional | optional << before })
}

/// How many `int`s, which of them are optional, and where their null is.
fn ints(op: WalkInstruction) -> Option<(u8, u16, Option<u8>)> {
    Some(match op {
        WalkInstruction::Ints(count) => {
            (u8::try_from(count).ok().filter(|&count| count < MOST_INTS)?, 0, None)
        }
        WalkInstruction::OptionalInt { null } => (1, 1, Some(null)),
        WalkInstruction::MixedInts { count, null, optional } => (count, optional, Some(null)),
        _ => return None,
    })
}
