//! The instructions of a walk. A run of like leaves is one instruction.

/// One instruction. The positions `to`, `next` and `body` are indices of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkInstruction {
    /// This number of bytes, without a look at them: float, double, fixed, and runs of them.
    Skip(u32),
    /// This number of leaves of one kind, one after another.
    Booleans(u32),
    Ints(u32),
    Longs(u32),
    Bytes(u32),
    Strings(u32),
    /// Three or more `int`s in a row, of which some are optional. Bit n of `optional` belongs to the nth of
    /// them.
    MixedInts {
        count: u8,
        null: u8,
        optional: u16,
    },
    /// An enum: an index below this number of symbols.
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
    /// A union of null and one other type. The program goes on at `to` if the value is null.
    Optional {
        null: u8,
        to: u32,
    },
    /// Any other union. The program goes on at `targets[table + index]`; the index is below `branches`.
    Union {
        table: u32,
        branches: u32,
    },
    Jump {
        to: u32,
    },
    /// Blocks of items. The body follows and ends with `End`; `next` is behind it. `min` is the least number
    /// of bytes of an item, `levels` the nesting that this array or map adds. With `rewrite`, sizes in bytes
    /// are left out, because the items may change their size.
    Blocks {
        next: u32,
        min: u32,
        levels: u8,
        rewrite: bool,
    },
    /// Blocks of items whose body is one instruction, which can run for all items at once.
    RunBlocks {
        next: u32,
        min: u32,
        levels: u8,
    },
    /// A record that is used in several places, or inside itself: its body is elsewhere in the program.
    Call {
        body: u32,
        levels: u8,
    },
    /// A record written out in place enters this level. Only schemas that can be too deep have this
    /// instruction.
    Level(u8),
    /// The end of a body.
    End,
    /// Patch: copies the bytes that were passed and not yet copied.
    Flush,
    /// Patch: leaves out the bytes that were passed and not yet copied.
    Discard,
    /// Patch: leaves out the bytes that were passed and not yet copied, and writes a null (union index 0)
    /// instead.
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

/// The largest number of `int`s in one [`WalkInstruction::MixedInts`]. With three bytes each, ten fit its
/// window of 32 bytes.
const MOST_INTS: u8 = 10;

/// Merges two instructions into one, if one instruction can do both.
pub(crate) fn merge(before: WalkInstruction, op: WalkInstruction) -> Option<WalkInstruction> {
    // Runs of one kind add up. The length of the schema's text bounds the counts. Two sizes whose sum
    // overflows stay apart.
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

/// Merges two runs of `int`s, of which some are optional.
fn mixed(before: WalkInstruction, op: WalkInstruction) -> Option<WalkInstruction> {
    let (before, before_optional, before_null) = ints(before)?;
    let (count, optional, null) = ints(op)?;

    let sum = before.checked_add(count).filter(|&sum| sum <= MOST_INTS)?;
    // All optional ones must have their null at the same index: the instruction has room for one.
    let null = match (before_null, null) {
        (Some(one), Some(other)) if one != other => return None,
        (one, other) => one.or(other)?,
    };

    // The second run's bits go above those of the first.
    Some(WalkInstruction::MixedInts { count: sum, null, optional: before_optional | optional << before })
}

/// Returns the number of `int`s, the bits of the optional ones, and the index of their null.
fn ints(op: WalkInstruction) -> Option<(u8, u16, Option<u8>)> {
    // A run of ten or more is not merged: `Ints` has no limit on its length.
    Some(match op {
        WalkInstruction::Ints(count) => {
            (u8::try_from(count).ok().filter(|&count| count < MOST_INTS)?, 0, None)
        }
        WalkInstruction::OptionalInt { null } => (1, 1, Some(null)),
        WalkInstruction::MixedInts { count, null, optional } => (count, optional, Some(null)),
        _ => return None,
    })
}
