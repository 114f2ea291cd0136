//! Other weights for a module that runs.

use super::InferenceModule;
use super::limited::limited;
use crate::backend::{Backend, Engine, Executable};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{OnnxModel, Target};
use crate::spec::{Signature, TensorSpec};
use crate::tensor::HostTensor;

/// How a module got its new weights. [`InferenceModule::refit_from`] returns this result, and has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refit {
    /// The weights of the engine were replaced.
    InPlace,
    /// The engine was built again.
    Rebuilt {
        /// The reason why the weights could not be replaced.
        reason: String,
    },
}

impl InferenceModule {
    /// Replaces the weights of the module by the weights of another model with the same architecture. Other threads
    /// can run the module at the same time.
    ///
    /// A run that started before uses the old weights to its end, and a run that starts after this call uses the new
    /// weights. No run fails. Clones of the module, and its modules for [devices](Self::on_devices) and
    /// [profiles](Self::for_profile), get the weights at the same time. Both sets of weights need memory until the old
    /// runs end.
    ///
    /// TensorRT replaces the weights of an engine that was built with
    /// [`refit`](crate::backend::tensorrt::TensorRtOptions::refit), without a new search for kernels. Every other
    /// engine is built again, with the same options and without the cache; the result says so.
    ///
    /// ```
    /// use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::{GraphBuilder, OnnxModel}};
    /// use ndarray::{Array2, array};
    ///
    /// let layer = |weights: Array2<f32>| -> accelerant::Result<OnnxModel> {
    ///     let graph = GraphBuilder::new("layer");
    ///     let x = graph.input("x", DType::F32, [1, 2])?;
    ///     graph.output("y", &x.linear(&graph.weight("w", weights)?, None)?)?;
    ///     graph.finish()
    /// };
    /// let module = InferenceModule::compile(&layer(array![[1., 0.], [0., 1.]])?, &OptimizeOptions::new())?;
    /// module.refit_from(&layer(array![[0., 1.], [1., 0.]])?)?;
    /// let y = module.run(&[HostTensor::from(array![[3f32, 4.]])])?;
    /// assert_eq!(y[0].to_vec::<f32>()?, [4., 3.]);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] with the first input or output that differs from the module's; otherwise as
    /// [`compile`](Self::compile). After an error, the module keeps its old weights.
    pub fn refit_from(&self, model: &OnnxModel) -> Result<Refit> {
        self.refit_with(|_| Ok(model.clone()))
    }

    /// As [`refit_from`](Self::refit_from), with the model that `export` writes for the backend's target.
    ///
    /// # Errors
    /// As [`refit_from`](Self::refit_from), and those of `export`.
    pub fn refit_with(&self, export: impl FnOnce(Target) -> Result<OnnxModel>) -> Result<Refit> {
        self.exchange_weights(export).map_err(|e| e.in_operation("refit"))
    }

    fn exchange_weights(&self, export: impl FnOnce(Target) -> Result<OnnxModel>) -> Result<Refit> {
        let origin = self.origin();
        let backend = origin.backend.as_ref();
        let target = backend.target();
        let model = match &origin.wanted {
            Some(wanted) => export(target.for_compute_capability(None))?
                .with_precision(target, wanted.clone())?,
            None => export(target)?,
        };
        let model = model.for_target(target)?;
        let first = || (origin.engine.clone(), origin.graph);
        let (before, graph) = origin.places.current().unwrap_or_else(first);
        let new_graph = backend.refits().then(|| model.graph_hash());
        let (engine, refit) = engine(backend, &before, &model, (graph, new_graph))?;
        same_tensors(before.signature(), engine.signature())?;
        let load = |ordinal: Option<usize>| {
            let executable = match ordinal {
                Some(ordinal) => backend.load_on(&engine, ordinal)?,
                None => backend.load(&engine)?,
            };
            Ok(limited(executable.into(), origin.longest_run))
        };
        // Kernels are compiled here, and not in the first caller's thread.
        let ready = |executable: &dyn Executable| {
            if executable.device().is_some()
                && let Err(e) = executable.run(&zeros(executable.signature())?)
            {
                tracing::debug!(target: "accelerant", "the model with other weights takes no zeros: {e}");
            }
            Ok(())
        };
        origin.places.exchange(&engine, new_graph, load, ready)?;
        Ok(refit)
    }
}

/// Inputs of the sizes that the model is tuned for.
fn zeros(signature: &Signature) -> Result<Vec<HostTensor>> {
    let zeros = |spec: &TensorSpec| {
        let [_, shape, _] = spec.shape.profile();
        let bytes = vec![0u8; shape.iter().product::<usize>() * spec.dtype.size()];
        HostTensor::from_bytes(spec.dtype, shape, bytes)
    };
    signature.inputs.iter().map(zeros).collect()
}

/// The engine with the model's weights, or another one.
fn engine(
    backend: &dyn Backend,
    before: &Engine,
    model: &OnnxModel,
    (graph, new_graph): (Option<[u8; 32]>, Option<[u8; 32]>),
) -> Result<(Engine, Refit)> {
    let reason = match (graph, new_graph) {
        (_, None) => format!("{} builds engines that keep their weights", backend.kind()),
        (None, _) => "the module was made of an engine, without its model".to_owned(),
        (graph, new) if graph != new => "the model differs in more than its weights".to_owned(),
        _ => match backend.refit(before, model) {
            Ok(engine) => return Ok((engine, Refit::InPlace)),
            Err(e) => e.to_string(),
        },
    };
    tracing::info!(target: "accelerant", "an engine is built anew for other weights: {reason}");
    Ok((backend.build(model)?, Refit::Rebuilt { reason }))
}

/// # Errors
/// [`ErrorKind::ShapeMismatch`], naming the first tensor that is another.
fn same_tensors(before: &Signature, after: &Signature) -> Result<()> {
    for (name, before, after) in
        [("inputs", &before.inputs, &after.inputs), ("outputs", &before.outputs, &after.outputs)]
    {
        if before.len() != after.len() {
            let text = format!("the model has {} {name}, the module {}", after.len(), before.len());
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        if let Some((before, after)) = before.iter().zip(after).find(|(one, other)| one != other) {
            let text = format!("the model has {after}, the module {before}");
            return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor(&before.name));
        }
    }
    Ok(())
}
