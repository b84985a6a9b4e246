//! Project: typed leaves in one pass over a validated datum.

mod resolve;

use std::borrow::Cow;

use crate::leaf::read_leaf;
use crate::program::compile;
use crate::program::diagnose::{diagnose, leaf_at};
use crate::program::op::Program;
use crate::program::plan::Plan;
use crate::program::walk::Task;
use crate::schema::{LeafType, Node, NodeId};
use crate::{DatumError, Leaf, Schema, SchemaError};

/// Wanted leaves of a schema.
pub struct Project {
    schema: Schema,
    program: Program,
    leaves: Vec<LeafType>,
    /// By slot: the place in the caller's paths.
    places: Vec<usize>,
    /// By slot: what makes the writer's leaf the reader's.
    promotions: Vec<resolve::Promotion>,
    /// Fields that the writer does not have: the place in the caller's paths and the reader's default.
    defaults: Vec<resolve::Default>,
}

impl Project {
    /// Compiles the paths, which must be leaves outside arrays and maps; records and `["null", T]` may stand
    /// above them.
    ///
    /// # Errors
    /// [`SchemaError::UnknownPath`], or [`SchemaError::Unsupported`] for a path that is no such leaf, or twice.
    pub fn compile(schema: &Schema, paths: &[&str]) -> Result<Self, SchemaError> {
        let mut steps = Vec::new();
        for (place, path) in paths.iter().enumerate() {
            if paths[..place].contains(path) {
                return Err(unsupported(path, "asked for twice"));
            }
            steps.push(path.split('.').collect::<Vec<_>>());
        }
        let wants: Vec<Want<'_>> = steps
            .iter()
            .enumerate()
            .map(|(place, steps)| Want { place, path: paths[place], steps })
            .collect();
        let mut choosing = Choosing { schema, leaves: Vec::new(), places: Vec::new() };
        let plan = choosing.node(schema.root(), &wants)?;
        let program = compile::plan_with_absent(schema, &plan)?;
        let Choosing { leaves, places, .. } = choosing;
        let promotions = leaves.iter().map(|_| resolve::Promotion::None).collect();
        Ok(Self { schema: schema.clone(), program, leaves, places, promotions, defaults: Vec::new() })
    }

    /// Compiles paths of a reader's schema for data of a writer's: fields meet by name or alias, narrower types
    /// are promoted (specification, "Schema Resolution"), and what the writer lacks takes the reader's default,
    /// handed out after the rest.
    ///
    /// # Errors
    /// The same as [`Project::compile`], and [`SchemaError::Unsupported`] where the two do not resolve for every
    /// datum: a writer's null or symbol that the reader has no place for is found here rather than later.
    pub fn compile_resolved(writer: &Schema, reader: &Schema, paths: &[&str]) -> Result<Self, SchemaError> {
        resolve::compile(writer, reader, paths)
    }

    /// Calls `leaf(index in paths, leaf)` for each wanted leaf in datum order, [`Leaf::Null`] for an absent
    /// one, while the whole datum is validated. On error some leaves may have been handed out already.
    ///
    /// # Errors
    /// [`DatumError`].
    #[inline]
    pub fn run<'d>(&'d self, datum: &'d [u8], leaf: impl FnMut(usize, Leaf<'d>)) -> Result<(), DatumError> {
        let mut reading = Reading { project: self, datum, leaf, refused: None };
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

struct Reading<'d, F> {
    project: &'d Project,
    datum: &'d [u8],
    leaf: F,
    /// A leaf that could not be promoted begins here.
    refused: Option<usize>,
}

impl<'d, F: FnMut(usize, Leaf<'d>)> Task for Reading<'d, F> {
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
            (self.leaf)(place, Leaf::Null);
        }
    }
}

/// A wanted path, and what is left of it below the node in hand.
#[derive(Clone, Copy)]
struct Want<'p> {
    place: usize,
    path: &'p str,
    steps: &'p [&'p str],
}

struct Choosing<'s> {
    schema: &'s Schema,
    leaves: Vec<LeafType>,
    places: Vec<usize>,
}

impl Choosing<'_> {
    fn node(&mut self, id: NodeId, wants: &[Want<'_>]) -> Result<Plan, SchemaError> {
        let schema = self.schema;
        let [first, ..] = wants else { return Ok(Plan::Keep(id)) };
        match schema.node(id) {
            Node::Leaf { leaf, .. } => {
                if !first.steps.is_empty() {
                    return Err(SchemaError::UnknownPath(first.path.to_owned()));
                }
                let slot = self.leaves.len() as u32;
                self.leaves.push(leaf.clone());
                self.places.push(first.place);
                Ok(Plan::Leaf { node: id, slot })
            }
            Node::Record { fields, .. } => {
                let known = |want: &Want<'_>| match want.steps {
                    [] => Err(unsupported(want.path, "a record, not a leaf")),
                    [step, ..] if fields.iter().any(|field| field.name == *step) => Ok(()),
                    _ => Err(SchemaError::UnknownPath(want.path.to_owned())),
                };
                wants.iter().try_for_each(known)?;
                let mut plans = Vec::with_capacity(fields.len());
                for field in fields {
                    let below = wants.iter().filter_map(|want| match want.steps {
                        [step, rest @ ..] if *step == field.name => Some(Want { steps: rest, ..*want }),
                        _ => None,
                    });
                    plans.push(self.node(field.node, &below.collect::<Vec<_>>())?);
                }
                Ok(Plan::Record { node: id, fields: plans })
            }
            Node::Array { .. } | Node::Map { .. } => {
                Err(unsupported(first.path, "inside an array or a map, where there may be many"))
            }
            Node::Union { branches } => match branches[..] {
                [one, other] if schema.is_null(one) != schema.is_null(other) => {
                    let mut plans = Vec::new();
                    for branch in [one, other] {
                        let wants = if schema.is_null(branch) { &[][..] } else { wants };
                        plans.push(self.node(branch, wants)?);
                    }
                    Ok(Plan::Union { node: id, branches: plans })
                }
                _ => Err(unsupported(first.path, "inside a union of several types")),
            },
        }
    }
}

fn unsupported(path: &str, why: &str) -> SchemaError {
    SchemaError::Unsupported { path: path.to_owned(), why: why.to_owned() }
}
