//! Sizes of an output that a file states and that nothing else shows. A run may show that the file is wrong.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// The axes of an output whose sizes only a file states. Clones share what runs have shown.
#[derive(Clone, Default)]
pub(crate) struct Claim(Option<Arc<Claimed>>);

struct Claimed {
    axes: Vec<usize>,
    /// The first size that was another.
    shown: OnceLock<String>,
}

impl Claim {
    /// The claim of a file about these axes.
    pub(crate) fn of(axes: Vec<usize>) -> Self {
        let some = !axes.is_empty();
        Self(some.then(|| Arc::new(Claimed { axes, shown: OnceLock::new() })))
    }

    pub(crate) fn axes(&self) -> &[usize] {
        self.0.as_ref().map_or(&[], |claimed| &claimed.axes)
    }

    /// Notes what a run has shown. Gives whether this is the first time.
    #[cfg(any(feature = "ort", feature = "tract"))]
    pub(super) fn is_wrong(&self, text: String) -> bool {
        self.0.as_ref().is_some_and(|claimed| claimed.shown.set(text).is_ok())
    }

    /// What a run has shown to be wrong.
    pub(crate) fn shown(&self) -> Option<&str> {
        self.0.as_ref().and_then(|claimed| claimed.shown.get()).map(String::as_str)
    }
}

/// What is known of an output does not say what the output is.
impl PartialEq for Claim {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Claim {}

/// Without what runs have shown: the text of a signature is a part of keys.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({:?})", self.axes())
    }
}
