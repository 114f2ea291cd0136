//! `Gemm` of other types than 32-bit floats, which tract does not have: a product and a sum are written instead.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::{DType, TensorSpec};

/// Writes `Gemm` of other types in its parts.
pub(in crate::export::passes) struct GemmOfOtherTypes(pub(in crate::export::passes) Target);

struct Product {
    factors: [TensorSpec; 2],
    summand: Option<TensorSpec>,
    transposed: [bool; 2],
    /// What product and summand are multiplied with.
    scales: [f64; 2],
}

impl Pass for GemmOfOtherTypes {
    fn name(&self) -> &'static str {
        "Gemm of other types"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        replace(graph, self.0, Product::of, |new, node, product| {
            let mut factors = Vec::with_capacity(2);
            for (spec, transposed) in product.factors.iter().zip(product.transposed) {
                let factor = new.of(spec);
                factors.push(if transposed { factor.transpose(&[1, 0])? } else { factor });
            }
            let scaled = |value: crate::export::Value, scale: f64| match scale {
                1.0 => Ok(value),
                _ => value.mul(&value.scalar_like(scale)?),
            };
            let mut y = scaled(factors[0].matmul(&factors[1])?, product.scales[0])?;
            if let Some(summand) = &product.summand {
                y = y.add(&scaled(new.of(summand), product.scales[1])?)?;
            }
            new.named(&y, &node.output[0]);
            Ok(())
        })
    }
}

impl Product {
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        if !node.is("Gemm") || node.output.len() != 1 {
            return None;
        }
        let spec = |at: usize| graph.spec(node.input.get(at).filter(|name| !name.is_empty())?);
        let factors = [spec(0)?, spec(1)?];
        let scale = |name: &str| node.stated(name).map_or(1.0, |scale| f64::from(scale.f()));
        let scales = [scale("alpha"), scale("beta")];
        let matrices = factors.iter().all(|factor| factor.shape.rank() == 2);
        // A scale of integers may have a fraction.
        let whole = factors[0].dtype.is_float() || scales == [1.0, 1.0];
        if factors[0].dtype == DType::F32 || !matrices || !whole {
            return None;
        }
        let summand = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => Some(graph.spec(name)?),
            None => None,
        };
        let transposed = ["transA", "transB"].map(|name| node.int(name, 0) != 0);
        Some(Self { factors, summand, transposed, scales })
    }
}
