//! Rules about which tokens may come next.

use std::fmt::Debug;

use crate::error::Result;

/// Changes the logits of one sequence before a token is chosen. A logit of `-f32::INFINITY` forbids a token.
///
/// ```
/// use accelerant::generate::{GenerateOptions, LogitsRule};
///
/// /// Forbids the end token before the tenth token.
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
    /// Changes `logits`, which has one number for each token of the vocabulary. `generated` has the tokens after the prompt.
    ///
    /// # Errors
    /// An error ends the generation.
    fn apply(&self, logits: &mut [f32], generated: &[u32]) -> Result<()>;
}
