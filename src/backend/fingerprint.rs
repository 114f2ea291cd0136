//! The parts that an engine depends on beside its model, by name: for keys of the cache, and to tell what changed.

use std::fmt::Display;

/// The parts that decide which engine a backend builds of a model, each with a name for people.
///
/// ```
/// use accelerant::backend::Fingerprint;
///
/// let of_this_machine = Fingerprint::new("4.2.0").with("device", "NPU 7").with("precision", 16);
/// assert_eq!(of_this_machine.parts().nth(1), Some(("device", "NPU 7")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(String, String)>);

impl Fingerprint {
    /// The exact version of the library that builds.
    pub fn new(library: impl Display) -> Self {
        Self(Vec::new()).with("library", library)
    }

    /// Adds a part: an option that changes engines, or something of the machine. The name must be a new one.
    ///
    /// # Panics
    /// In a debug build, where a part has this name already.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        debug_assert!(self.0.iter().all(|(known, _)| known != name), "`{name}` comes twice");
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    /// Names and values, in order.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
