//! Which module an operation came from, as far as its parameters tell: a capture records tensors,
//! not modules.

use super::trace::CapturedPass;

/// The path of the module of each operation; empty for the outermost.
///
/// An operation that reads a parameter belongs to the module that holds the parameter. Any other
/// belongs to the innermost module that holds both the last parameter read before it and the first
/// one read after it: between `block.query.weight` and `block.value.weight` lies `block`.
pub(super) fn paths(trace: &CapturedPass) -> Vec<String> {
    let own: Vec<Option<&str>> = trace
        .operations
        .iter()
        .map(|operation| {
            let parameters = operation.inputs().filter_map(|tensor| trace.names.get(&tensor.id));
            let modules = parameters.map(|path| path.rsplit_once('.').map_or("", |(m, _)| m));
            // A layer made of several has parameters of all of them.
            modules.reduce(common)
        })
        .collect();
    let mut after = vec![None; own.len()];
    let mut next = None;
    for (place, own) in after.iter_mut().zip(&own).rev() {
        *place = next;
        next = own.or(next);
    }
    let mut before: Option<&str> = None;
    let mut paths = Vec::with_capacity(own.len());
    for (own, after) in own.into_iter().zip(after) {
        before = own.or(before);
        paths.push(match (own, before, after) {
            (Some(own), ..) => own.to_owned(),
            (None, Some(before), Some(after)) => common(before, after).to_owned(),
            _ => String::new(),
        });
    }
    paths
}

/// The innermost module that holds both.
fn common<'a>(first: &'a str, second: &str) -> &'a str {
    let mut end = 0;
    for (part, other) in first.split('.').zip(second.split('.')) {
        if part != other {
            break;
        }
        end += part.len() + 1;
    }
    &first[..end.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn the_innermost_module_that_holds_both() {
        assert_eq!(common("layers.0.mha.query", "layers.0.mha.value"), "layers.0.mha");
        assert_eq!(common("layers.0.ffn", "layers.1.mha"), "layers");
        assert_eq!(common("layer", "layers"), "");
        assert_eq!(common("conv", "conv"), "conv");
    }
}
