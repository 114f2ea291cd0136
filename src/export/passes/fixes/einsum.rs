//! Capital letters in the equation of an `Einsum`, as torch's files have them. TensorRT-RTX 1.6 takes small letters alone
//! (`Invalid character(s) in Einsum equation`).

use std::collections::BTreeSet;

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;

/// Small letters for the axes of an `Einsum`.
pub(in crate::export::passes) struct SmallLetters;

impl Pass for SmallLetters {
    fn name(&self) -> &'static str {
        "small letters"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let mut changed = 0;
        for node in &mut graph.nodes {
            if let Some(equation) = in_small_letters(node) {
                node.attribute.retain(|attribute| attribute.name() != "equation");
                node.attribute.push(Attribute::String(equation).to_proto("equation"));
                changed += 1;
            }
        }
        Ok(changed)
    }
}

/// The equation of an `Einsum` that has capital letters, in the first letters of the alphabet. Their order is kept: axes of
/// a result that the equation does not name come in that order.
fn in_small_letters(node: &NodeProto) -> Option<String> {
    let equation = node.stated("equation").filter(|_| node.is("Einsum"))?;
    let equation = std::str::from_utf8(equation.s()).ok()?;
    let letters: BTreeSet<char> = equation.chars().filter(char::is_ascii_alphabetic).collect();
    if !letters.iter().any(char::is_ascii_uppercase) || letters.len() > 26 {
        return None;
    }
    let small = |letter: char| {
        let place = letters.iter().position(|&other| other == letter);
        place.and_then(|place| ('a'..='z').nth(place)).unwrap_or(letter)
    };
    Some(equation.chars().filter(|letter| !letter.is_whitespace()).map(small).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(equation: &str) -> Option<String> {
        in_small_letters(&NodeProto {
            op_type: Some("Einsum".to_owned()),
            attribute: vec![Attribute::String(equation.to_owned()).to_proto("equation")],
            ..Default::default()
        })
    }

    #[test]
    fn letters_become_small_in_their_order() {
        let small = |equation| written(equation).unwrap();
        assert_eq!(small("B G H I D, B G H J D -> B G H I J"), "acdeb,acdfb->acdef");
        assert_eq!(small("...aB,...Bc"), "...ba,...ac");
        assert_eq!(written("bij,bjk->bik"), None);
        let all: String = ('a'..='z').chain('A'..='B').collect();
        assert_eq!(written(&format!("{all}->{all}")), None);
    }
}
