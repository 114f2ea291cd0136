//! Changes of bytes: any bytes, and those that know what a model, an engine and a pair are made of.

mod bytes;
mod engines;
mod graphs;
mod models;
mod pairs;

pub(crate) use engines::engine;
pub(crate) use models::model;
pub(crate) use pairs::pair;
