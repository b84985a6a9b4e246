//! Project: typed leaves in one pass over a validated datum.

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

/// Wanted leaves of a schema.
pub struct LeafProjection {
    schema: DatumSchema,
    program: WalkProgram,
    leaves: Vec<LeafType>,
    /// By slot: the place in the caller's paths.
    places: Vec<usize>,
    /// By slot: what makes the writer's leaf the reader's.
    promotions: Vec<resolve::LeafPromotion>,
    /// Fields that the writer does not have: the place in the caller's paths and the reader's default.
    defaults: Vec<resolve::ReaderDefault>,
}

impl LeafProjection {
    /// Compiles the paths, which must be leaves outside arrays and maps; records and `["null", T]` may stand
    /// above them.
    ///
    /// # Errors
    /// [`SchemaError::UnknownPath`], or [`SchemaError::Unsupported`] for a path that is no such leaf, or twice.
    pub fn compile(schema: &DatumSchema, paths: &[&str]) -> Result<Self, SchemaError> {
        let mut steps = Vec::new();
        for (place, path) in paths.iter().enumerate() {
            if paths[..place].contains(path) {
                return Err(unsupported(path, "asked for twice"));
            }
            steps.push(path.split('.').collect::<Vec<_>>());
        }
        let wants: Vec<WantedPath<'_>> = steps
            .iter()
            .enumerate()
            .map(|(place, steps)| WantedPath { place, path: paths[place], steps })
            .collect();
        let mut choosing = ProjectionPlanner { schema, leaves: Vec::new(), places: Vec::new() };
        let plan = choosing.node(schema.root(), &wants)?;
        let program = compile::plan_with_absent(schema, &plan)?;
        let ProjectionPlanner { leaves, places, .. } = choosing;
        let promotions = leaves.iter().map(|_| resolve::LeafPromotion::None).collect();
        Ok(Self { schema: schema.clone(), program, leaves, places, promotions, defaults: Vec::new() })
    }

    /// Compiles paths of a reader's schema for data of a writer's: fields meet by name or alias, narrower types
    /// are promoted (specification, "Schema Resolution"), and what the writer lacks takes the reader's default,
    /// handed out after the rest.
    ///
    /// # Errors
    /// The same as [`LeafProjection::compile`], and [`SchemaError::Unsupported`] where the two do not resolve for every
    /// datum: a writer's null or symbol that the reader has no place for is found here rather than later.
    pub fn compile_resolved(
        writer: &DatumSchema,
        reader: &DatumSchema,
        paths: &[&str],
    ) -> Result<Self, SchemaError> {
        resolve::compile(writer, reader, paths)
    }

    /// Calls `leaf(index in paths, leaf)` for each wanted leaf in datum order, [`LeafValue::Null`] for an absent
    /// one, while the whole datum is validated. On error some leaves may have been handed out already.
    ///
    /// # Errors
    /// [`DatumError`].
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

    #[cold]
    fn failure(&self, datum: &[u8], refused: Option<usize>) -> DatumError {
        match refused {
            Some(at) => {
                let expected = Cow::Borrowed("UTF-8, because the reader has a string");
                DatumError { path: leaf_at(&self.schema, datum, at), position: at, expected }
            }
            None => diagnose(&self.schema, datum),
        }
    }
}

struct ProjectionTask<'d, F> {
    project: &'d LeafProjection,
    datum: &'d [u8],
    leaf: F,
    /// A leaf that could not be promoted begins here.
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

/// A wanted path, and what is left of it below the node in hand.
#[derive(Clone, Copy)]
struct WantedPath<'p> {
    place: usize,
    path: &'p str,
    steps: &'p [&'p str],
}

struct ProjectionPlanner<'s> {
    schema: &'s DatumSchema,
    leaves: Vec<LeafType>,
    places: Vec<usize>,
}

impl ProjectionPlanner<'_> {
    fn node(&mut self, id: NodeId, wants: &[WantedPath<'_>]) -> Result<WalkPlan, SchemaError> {
        let schema = self.schema;
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
                    [] => Err(unsupported(want.path, "a record, not a leaf")),
                    [step, ..] if fields.iter().any(|field| field.name == *step) => Ok(()),
                    _ => Err(SchemaError::UnknownPath(want.path.to_owned())),
                };
                wants.iter().try_for_each(known)?;
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
            SchemaNode::Array { .. } | SchemaNode::Map { .. } => {
                Err(unsupported(first.path, "inside an array or a map, where there may be many"))
            }
            SchemaNode::Union { branches } => match branches[..] {
                [one, other] if schema.is_null(one) != schema.is_null(other) => {
                    let mut plans = Vec::new();
                    for branch in [one, other] {
                        let wants = if schema.is_null(branch) { &[][..] } else { wants };
                        plans.push(self.node(branch, wants)?);
                    }
                    Ok(WalkPlan::Union { node: id, branches: plans })
                }
                _ => Err(unsupported(first.path, "inside a union of several types")),
            },
        }
    }
}

fn unsupported(path: &str, why: &str) -> SchemaError {
    SchemaError::Unsupported { path: path.to_owned(), why: why.to_owned() }
}
