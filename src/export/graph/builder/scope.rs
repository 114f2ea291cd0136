//! The guard of a scope of names.

use super::GraphBuilder;

/// A [scope](GraphBuilder::scope) of names, which ends when it is dropped.
#[derive(Debug)]
#[must_use = "the scope ends when it is dropped"]
pub struct Scope {
    pub(super) graph: GraphBuilder,
    /// The scopes around it.
    pub(super) depth: usize,
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.graph.lock().scope.truncate(self.depth);
    }
}
