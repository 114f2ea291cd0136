//! An engine on its device: contexts and their leases, memory, graphs, and counters. Nothing of models.

mod apart;
pub(crate) mod captures;
mod computed;
mod context;
mod counters;
mod described;
mod engine;
mod executable;
mod failure;
mod graphs;
mod kernels;
mod known_shapes;
mod memory;
mod needs;
mod pool;
mod queue;
mod ranges;
mod refit;
mod scratch;
mod slot;
mod times;

pub(crate) use engine::{LoadedEngine, check_header};
pub(crate) use executable::EngineExecutable;
pub(crate) use needs::memory_with;
pub(crate) use refit::refitted;
