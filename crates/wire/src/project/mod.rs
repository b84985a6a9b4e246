//! Project: reads typed leaves in one pass over a datum, which is validated on the way.

mod resolve;

use std::borrow::Cow;

use crate::leaf::read_leaf;
use crate::program::compile;
use crate::program::diagnose::{diagnose, leaf_at};
use crate::program::op::WalkProgram;
use crate::program::plan::WalkPlan;
use crate::program::walk::WalkTask;
use crate::schema::{LeafType, NodeId, SchemaNode};
use crate::{DatumError, DatumSchema, LeafValue, SchemaError};

/// A compiled projection: the wanted leaves of a schema.
pub struct LeafProjection {
    schema: DatumSchema,
    program: WalkProgram,
    leaves: Vec<LeafType>,
    /// By slot: the index in the caller's paths.
    places: Vec<usize>,
    /// By slot: the conversion of the writer's leaf to the reader's.
    promotions: Vec<resolve::LeafPromotion>,
    /// Fields that the writer does not have: the index in the caller's paths and the reader's default.
    defaults: Vec<resolve::ReaderDefault>,
}

impl LeafProjection {
    /// Compiles the paths. Each path must be a leaf outside arrays and maps; above it may be records and
    /// `["null", T]`.
    ///
    /// # Errors
    /// [`SchemaError::UnknownPath`], or [`SchemaError::Unsupported`] for a path that is no such leaf or is
    /// listed twice.
    pub fn compile(schema: &DatumSchema, paths: &[&str]) -> Result<Self, SchemaError> {
        // Split the paths once; the planner goes down one element per level.
        let mut steps = Vec::new();
        for (place, path) in paths.iter().enumerate() {
            if paths[..place].contains(path) {
                return Err(unsupported(path, "the path is listed twice: expected each path once"));
            }
            steps.push(path.split('.').collect::<Vec<_>>());
        }
        let wants: Vec<WantedPath<'_>> = steps
            .iter()
            .enumerate()
            .map(|(place, steps)| WantedPath { place, path: paths[place], steps })
            .collect();

        // Absent leaves are reported too, because the caller wants a value for every path.
        let mut choosing = ProjectionPlanner { schema, leaves: Vec::new(), places: Vec::new() };
        let plan = choosing.node(schema.root(), &wants)?;
        let program = compile::plan_with_absent(schema, &plan)?;
        let ProjectionPlanner { leaves, places, .. } = choosing;

        // Without a reader's schema no leaf needs a conversion.
        let promotions = leaves.iter().map(|_| resolve::LeafPromotion::None).collect();
        Ok(Self { schema: schema.clone(), program, leaves, places, promotions, defaults: Vec::new() })
    }

    /// Compiles paths of a reader's schema for data of a writer's schema. Fields meet by name or alias, and
    /// narrower types are promoted (specification, "Schema Resolution"). A field that the writer lacks takes
    /// the reader's default; defaults come after the other leaves.
    ///
    /// # Errors
    /// The same as [`LeafProjection::compile`], and [`SchemaError::Unsupported`] if the two schemas do not
    /// resolve for every datum. A writer's null or symbol without a counterpart in the reader's schema fails
    /// here, not later on a record.
    pub fn compile_resolved(
        writer: &DatumSchema,
        reader: &DatumSchema,
        paths: &[&str],
    ) -> Result<Self, SchemaError> {
        resolve::compile(writer, reader, paths)
    }

    /// Validates the whole datum and calls `leaf(index in paths, leaf)` for each wanted leaf, in datum order.
    /// An absent leaf is [`LeafValue::Null`]. On error some leaves may have been passed out already.
    ///
    /// # Errors
    /// [`DatumError`] if the bytes are not a datum, or if a leaf cannot be promoted.
    #[inline]
    pub fn run<'d>(
        &'d self,
        datum: &'d [u8],
        leaf: impl FnMut(usize, LeafValue<'d>),
    ) -> Result<(), DatumError> {
        let mut reading = ProjectionTask { project: self, datum, leaf, refused: None };
        if self.program.run(datum, &mut reading).is_none() {
            return Err(self.failure(datum, reading.refused));
        }
        for default in &self.defaults {
            (reading.leaf)(default.place, default.leaf());
        }
        Ok(())
    }

    /// Finds the error of a datum that failed.
    #[cold]
    fn failure(&self, datum: &[u8], refused: Option<usize>) -> DatumError {
        // Only a promotion from bytes to string fails at run time; the walk accepted the leaf itself.
        match refused {
            Some(at) => {
                let expected = Cow::Borrowed("UTF-8, because the reader has a string");
                DatumError { path: leaf_at(&self.schema, datum, at), position: at, expected }
            }
            None => diagnose(&self.schema, datum),
        }
    }
}

/// Reads the wanted leaves of one datum.
struct ProjectionTask<'d, F> {
    project: &'d LeafProjection,
    datum: &'d [u8],
    leaf: F,
    /// The position of a leaf that could not be promoted.
    refused: Option<usize>,
}

impl<'d, F: FnMut(usize, LeafValue<'d>)> WalkTask for ProjectionTask<'d, F> {
    #[inline]
    fn leaf(&mut self, slot: u32, _data: &[u8], at: usize) -> Option<usize> {
        let slot = slot as usize;
        let (leaf, end) = read_leaf(self.project.leaves.get(slot)?, self.datum, at)?;
        let Some(leaf) = self.project.promotions.get(slot)?.apply(leaf) else {
            self.refused = Some(at);
            return None;
        };
        // A run of ten or more is not merged: `Ints` has no limit on its length.
        (self.leaf)(*self.project.places.get(slot)?, leaf);
        Some(end)
    }

    #[inline]
    fn absent(&mut self, slot: u32) {
        if let Some(&place) = self.project.places.get(slot as usize) {
            (self.leaf)(place, LeafValue::Null);
        }
    }
}

/// A wanted path and the rest of it below the current node.
#[derive(Clone, Copy)]
struct WantedPath<'p> {
    place: usize,
    path: &'p str,
    steps: &'p [&'p str],
}

/// Plans the walk along the wanted paths.
struct ProjectionPlanner<'s> {
    schema: &'s DatumSchema,
    leaves: Vec<LeafType>,
    /// By slot: the index in the caller's paths.
    places: Vec<usize>,
}

impl ProjectionPlanner<'_> {
    /// Plans one node. `wants` are the paths through it.
    fn node(&mut self, id: NodeId, wants: &[WantedPath<'_>]) -> Result<WalkPlan, SchemaError> {
        let schema = self.schema;
        // Parts without a wanted leaf are validated as a whole.
        let [first, ..] = wants else { return Ok(WalkPlan::Keep(id)) };
        match schema.node(id) {
            SchemaNode::Leaf { leaf, .. } => {
                if !first.steps.is_empty() {
                    return Err(SchemaError::UnknownPath(first.path.to_owned()));
                }
                let slot = self.leaves.len() as u32;

                self.leaves.push(leaf.clone());
                self.places.push(first.place);
                Ok(WalkPlan::Leaf { node: id, slot })
            }
            SchemaNode::Record { fields, .. } => {
                let known = |want: &WantedPath<'_>| match want.steps {
                    [] => Err(unsupported(want.path, "expected a leaf, not a record")),
                    [step, ..] if fields.iter().any(|field| field.name == *step) => Ok(()),
                    _ => Err(SchemaError::UnknownPath(want.path.to_owned())),
                };
                wants.iter().try_for_each(known)?;

                // Each field gets the paths that go through it.
                let mut plans = Vec::with_capacity(fields.len());
                for field in fields {
                    let below = wants.iter().filter_map(|want| match want.steps {
                        [step, rest @ ..] if *step == field.name => Some(WantedPath { steps: rest, ..*want }),
                        _ => None,
                    });
                    plans.push(self.node(field.node, &below.collect::<Vec<_>>())?);
                }
                Ok(WalkPlan::Record { node: id, fields: plans })
            }

            // Below here a path has many values per datum, or a type that depends on the datum.
            SchemaNode::Array { .. } | SchemaNode::Map { .. } => Err(unsupported(
                first.path,
                "expected a leaf outside arrays and maps, which can have many values",
            )),
            SchemaNode::Union { branches } => match branches[..] {
                [one, other] if schema.is_null(one) != schema.is_null(other) => {
                    // `["null", T]` is transparent: the path goes on in T.
                    let mut plans = Vec::new();
                    for branch in [one, other] {
                        let wants = if schema.is_null(branch) { &[][..] } else { wants };
                        plans.push(self.node(branch, wants)?);
                    }
                    Ok(WalkPlan::Union { node: id, branches: plans })
                }
                _ => Err(unsupported(first.path, "expected a leaf outside unions of several types")),
            },
        }
    }
}

/// Makes the error for a path that cannot be projected.
fn unsupported(path: &str, why: &str) -> SchemaError {
    SchemaError::Unsupported { path: path.to_owned(), why: why.to_owned() }
}
