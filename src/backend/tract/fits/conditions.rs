//! Finds the conditions on the sizes of a run, by operator of tract.

use std::collections::HashSet;

use tract_onnx::prelude::{Symbol, TDim, TypedFact, TypedModel, TypedNode};
use tract_onnx::tract_core::internal::{AxisOp, TractResult};
use tract_onnx::tract_core::ops::array::{
    GatherNd, Pad, PadMode, ScatterElements, ScatterNd, TypedConcat,
};
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_core::ops::scan::{InputMapping, Scan};
use tract_onnx::tract_core::ops::source::TypedSource;

use super::{Fit, Needs};
use crate::error::{Error, ErrorKind};

/// All conditions on the sizes of a run. Those that hold for all sizes are left out.
#[derive(Default)]
pub(in crate::backend::tract) struct Conditions {
    pub(in crate::backend::tract) all: Vec<Fit>,
}

impl Conditions {
    /// Adds those of a model that are not there yet.
    pub(in crate::backend::tract) fn of(&mut self, model: &TypedModel) -> TractResult<()> {
        let mut found = Vec::new();
        collect(model, &mut found)?;
        for fit in found {
            if !self.all.iter().any(|known| known.size == fit.size && known.needs == fit.needs) {
                self.all.push(fit);
            }
        }
        Ok(())
    }
}

fn collect(model: &TypedModel, found: &mut Vec<Fit>) -> TractResult<()> {
    for node in model.eval_order()?.into_iter().map(|id| &model.nodes[id]) {
        let facts = model.node_input_facts(node.id)?;
        let shapes: Vec<&[TDim]> = facts.iter().map(|fact| &fact.shape[..]).collect();
        let mut of = Of { node, found };
        if let Some(op) = node.op_as::<EinSum>() {
            of.product(op, &facts)?;
        } else if let Some(op) = node.op_as::<Conv>() {
            of.window(&op.pool_spec, shapes[0])?;
            let channels = op.pool_spec.data_format.shape(shapes[0])?.c_dim().clone();
            of.same("the channels", &channels, &op.pool_spec.input_channels.into());
            let kernel = op.kernel_fmt.hw(shapes[1]).iter().zip(&op.pool_spec.kernel_shape);
            kernel.for_each(|(size, &stated)| of.same("the kernel", size, &stated.into()));
        } else if let Some(op) = node.op_as::<Deconv>() {
            let channels = op.pool_spec.data_format.shape(shapes[0])?.c_dim().clone();
            let expected = op.kernel_format.input_channels(shapes[1], op.group).into_owned();
            of.same("the channels", &channels, &expected);
        } else if let Some(op) = node.op_as::<MaxPool>() {
            of.window(&op.pool_spec, shapes[0])?;
        } else if let Some(op) = node.op_as::<SumPool>() {
            of.window(&op.pool_spec, shapes[0])?;
        } else if let Some(op) = node.op_as::<TypedConcat>() {
            of.joined(op.axis, &shapes);
        } else if node.op_is::<ScatterNd>() {
            of.scattered(&shapes);
        } else if node.op_is::<ScatterElements>() {
            of.equal("the updates", shapes[1], shapes[2]);
        } else if let Some(op) = node.op_as::<GatherNd>() {
            of.equal("the batch", &shapes[0][..op.batch_dims], &shapes[1][..op.batch_dims]);
        } else if let Some(op) = node.op_as::<Pad>() {
            of.padded(op, shapes[0]);
        } else if let Some(op) = node.op_as::<Reduce>() {
            of.reduced(op, facts[0]);
        } else if node.op().name() == "Resize" {
            let sizes = shapes[0].iter().zip(node.outputs[0].fact.shape.iter());
            for (size, _) in sizes.filter(|(size, resized)| size != resized) {
                of.at_least("a resized axis", size, 1);
            }
        } else if let Some(AxisOp::Reshape(_, from, to)) = node.op_as::<AxisOp>() {
            of.same("the number of elements", &from.iter().product(), &to.iter().product());
        } else if let Some(op) = node.op_as::<Scan>() {
            of.steps(op, &shapes);
            inside(&op.body, found)?;
        } else if let Some(op) = node.op_as::<IfThenElse>() {
            // Those of the branch that a run takes are looked at when it is taken.
            inside(&op.then_body, &mut Vec::new())?;
            inside(&op.else_body, &mut Vec::new())?;
        }
    }
    Ok(())
}

/// The conditions of a body, whose own run cannot be looked into.
fn inside(body: &TypedModel, found: &mut Vec<Fit>) -> TractResult<()> {
    let before = found.len();
    collect(body, found)?;
    let own: HashSet<Symbol> = body
        .nodes
        .iter()
        .filter(|node| node.op.mints_runtime_symbols() && !node.op_is::<TypedSource>())
        .flat_map(|node| node.outputs.iter().flat_map(|made| symbols(&made.fact)))
        .collect();
    let unseen = found[before..].iter().find(|fit| {
        let mut symbols = fit.size.symbols();
        if let Needs::Equal(other) = &fit.needs {
            symbols.extend(other.symbols());
        }
        !symbols.is_disjoint(&own)
    });
    match unseen {
        None => Ok(()),
        Some(fit) => {
            let text = "values decide sizes inside a body, and tract would read beyond a tensor; \
                        use ONNX Runtime";
            let error = Error::new(ErrorKind::Build, text);
            Err(error.in_operation(format!("node `{}`", fit.node)).into())
        }
    }
}

fn symbols(fact: &TypedFact) -> HashSet<Symbol> {
    fact.shape.iter().flat_map(TDim::symbols).collect()
}

/// The conditions of one node.
struct Of<'f> {
    node: &'f TypedNode,
    found: &'f mut Vec<Fit>,
}

impl Of<'_> {
    fn push(&mut self, what: &'static str, size: &TDim, needs: Needs) {
        let (node, size) = (self.node.name.clone(), size.clone());
        self.found.push(Fit { node, what, size, needs });
    }

    fn same(&mut self, what: &'static str, a: &TDim, b: &TDim) {
        let known = a.as_i64().is_some() && b.as_i64().is_some();
        // Sizes that are known were looked at when the model was read.
        if !known && a != b && (a.clone() - b).simplify() != TDim::Val(0) {
            self.push(what, a, Needs::Equal(b.clone()));
        }
    }

    fn at_least(&mut self, what: &'static str, size: &TDim, least: i64) {
        if size.as_i64().is_none() {
            self.push(what, size, Needs::AtLeast(least));
        }
    }

    fn reduced(&mut self, op: &Reduce, x: &TypedFact) {
        match op.reducer {
            Reducer::ArgMax(_) | Reducer::ArgMin(_) => {
                op.axes.iter().for_each(|&axis| self.at_least("an axis", &x.shape[axis], 1));
            }
            // tract divides by the size there.
            Reducer::Sum | Reducer::MeanOfSquares
                if x.datum_type.is_float() && op.axes[..] == [x.rank().saturating_sub(1)] =>
            {
                self.at_least("a summed axis", &x.shape[op.axes[0]], 1);
            }
            _ => {}
        }
    }

    fn equal(&mut self, what: &'static str, a: &[TDim], b: &[TDim]) {
        a.iter().zip(b).for_each(|(a, b)| self.same(what, a, b));
    }

    /// Axes with the same letter. A size of 1 that is known is repeated, and tract repeats no other.
    fn product(&mut self, op: &EinSum, facts: &[&TypedFact]) -> TractResult<()> {
        let shapes = op.actual_input_shapes_from_facts(facts)?;
        for axis in op.axes.iter_all_axes() {
            let summed = axis.outputs.iter().all(|places| places.is_empty());
            // Scales and zero points behind the factors are repeated, in a run too.
            let factors = if op.q_params.is_some() { 2 } else { shapes.len() };
            let places = axis.inputs.iter().zip(&shapes).take(factors);
            let sizes = places.flat_map(|(places, shape)| places.iter().map(|&at| &shape[at]));
            let mut sizes = sizes.filter(|size| summed || **size != TDim::Val(1));
            if let Some(first) = sizes.next() {
                sizes.for_each(|size| self.same("an axis of a product", first, size));
            }
        }
        Ok(())
    }

    fn window(&mut self, spec: &PoolSpec, shape: &[TDim]) -> TractResult<()> {
        let shape = spec.data_format.shape(shape)?;
        for (axis, size) in shape.hw_dims().iter().enumerate() {
            let pads = match &spec.padding {
                PaddingSpec::Explicit(before, after)
                | PaddingSpec::ExplicitOnnxPool(before, after, _) => before[axis] + after[axis],
                PaddingSpec::Valid => 0,
                PaddingSpec::SameUpper | PaddingSpec::SameLower => continue,
            };
            let dilation = spec.dilations.as_ref().map_or(1, |dilations| dilations[axis]);
            let reach = spec.kernel_shape[axis].saturating_sub(1).saturating_mul(dilation) + 1;
            self.at_least("an axis under a window", size, (reach as i64 - pads as i64).max(1));
        }
        Ok(())
    }

    /// What is there is repeated.
    fn padded(&mut self, op: &Pad, shape: &[TDim]) {
        for (size, &(before, after)) in shape.iter().zip(&op.pads) {
            let most = before.max(after) as i64;
            match op.mode {
                PadMode::Edge if most > 0 => self.at_least("a padded axis", size, 1),
                PadMode::Reflect if most > 0 => self.at_least("a padded axis", size, most + 1),
                _ => {}
            }
        }
    }

    fn joined(&mut self, axis: usize, shapes: &[&[TDim]]) {
        for shape in &shapes[1..] {
            for at in (0..shape.len()).filter(|&at| at != axis) {
                self.same("an axis of joined tensors", &shapes[0][at], &shape[at]);
            }
        }
    }

    fn scattered(&mut self, shapes: &[&[TDim]]) {
        let (data, places, updates) = (shapes[0], shapes[1], shapes[2]);
        let Some((depth, places)) = places.split_last() else { return };
        let depth = depth.as_i64().and_then(|depth| usize::try_from(depth).ok());
        let Some(rest) = depth.and_then(|depth| data.get(depth..)) else { return };
        self.equal("the updates", &[places, rest].concat(), updates);
    }

    fn steps(&mut self, op: &Scan, shapes: &[&[TDim]]) {
        let scanned = op.input_mapping.iter().zip(shapes);
        let mut sizes = scanned.filter_map(|(mapping, shape)| match mapping {
            InputMapping::Scan(info) if info.chunk.abs() == 1 => shape.get(info.axis),
            _ => None,
        });
        if let Some(first) = sizes.next() {
            sizes.for_each(|size| self.same("the number of steps", first, size));
        }
    }
}
