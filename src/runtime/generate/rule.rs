//! Rules about which tokens may come next.

use std::fmt::Debug;

use crate::error::Result;

/// Changes the logits of one text before a token is chosen, for example by setting logits of tokens that must not come next
/// to `-f32::INFINITY`.
///
/// ```
/// use accelerant::generate::{GenerateOptions, LogitsRule};
///
/// /// Ends no text before its tenth token.
/// #[derive(Debug)]
/// struct AtLeastTen {
///     end: u32,
/// }
///
/// impl LogitsRule for AtLeastTen {
///     fn apply(&self, logits: &mut [f32], generated: &[u32]) -> accelerant::Result<()> {
///         if generated.len() < 10 {
///             logits[self.end as usize] = f32::NEG_INFINITY;
///         }
///         Ok(())
///     }
/// }
///
/// let options = GenerateOptions::new().rule(AtLeastTen { end: 2 });
/// ```
pub trait LogitsRule: Debug + Send + Sync {
    /// Changes `logits`, a number for each token of the vocabulary. `generated` has the tokens behind the prompt.
    ///
    /// # Errors
    /// An error ends the generation.
    fn apply(&self, logits: &mut [f32], generated: &[u32]) -> Result<()>;
}
