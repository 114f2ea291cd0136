//! From a model to a session of ONNX Runtime: what ONNX Runtime gets, in which form, and with how much memory. No runs.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use ort::session::{Session, builder::GraphOptimizationLevel};

use super::guards::Guards;
use super::library::{self, Library};
use super::memory::{self, Arena};
use super::{Checks, log, refused};
use crate::backend::panics::guarded;
use crate::backend::portable::apart;
use crate::backend::{BackendKind, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{KnownInputs, MemoryBound, OnnxModel};
use crate::progress;

/// What ONNX Runtime gets: a model, and the bytes of an engine.
#[derive(Clone, Copy)]
pub(super) struct Source<'m> {
    pub(super) model: &'m OnnxModel,
    pub(super) plan: &'m Bytes,
    /// The bytes are what the model is written as.
    pub(super) is_whole: bool,
}

/// An engine, and the session that proved that it can be loaded.
pub(super) fn build(model: &OnnxModel) -> Result<(Engine, Session, Checks)> {
    let library = library::load()?;
    let start = Instant::now();
    refused::check(model.proto())?;
    let mut bound = bound(model)?;
    let guards = guards(model, library, None)?;
    let plan = Bytes::from(model.to_bytes());
    let source = Source { model, plan: &plan, is_whole: true };
    let (plan, session, guards) = match session(library, source, guards, &bound) {
        Ok((session, guards)) => (plan, session, guards),
        Err(error) if error.is_stop() => return Err(error),
        Err(error) => with_other_branches(library, model, &bound)?.ok_or(error)?,
    };
    bound.watch(model.signature(), || model.proto().clone());
    let signature = model.signature().clone();
    let version = library.version.to_string();
    let engine = Engine::new(BackendKind::Ort, version, "cpu", signature, start.elapsed(), plan);
    Ok((engine.just_built(), session, Checks { guards, bound }))
}

pub(super) fn bound(model: &OnnxModel) -> Result<MemoryBound> {
    model.memory_bound(progress::memory()).map_err(|e| e.in_operation("build"))
}

/// A session of a model that ONNX Runtime refuses as it is. A branch that is not taken may not fit the sizes that are bound, and
/// ONNX Runtime finds that out before a run. Known branches are taken, or the sizes are left open.
fn with_other_branches(
    library: &'static Library,
    model: &OnnxModel,
    bound: &MemoryBound,
) -> Result<Option<(Bytes, Session, Guards)>> {
    let taken = model.with_known_branches()?;
    let open = [taken.as_ref(), Some(model)].map(|model| model?.with_open_sizes());
    for other in taken.into_iter().chain(open.into_iter().flatten()) {
        let plan = Bytes::from(other.to_bytes());
        let source = Source { model: &other, plan: &plan, is_whole: true };
        match session(library, source, guards(&other, library, None)?, bound) {
            Ok((session, guards)) => return Ok(Some((plan, session, guards))),
            Err(error) if error.is_stop() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// What guards a model. An engine holds the model without it.
pub(super) fn guards(
    model: &OnnxModel,
    library: &Library,
    known: Option<KnownInputs>,
) -> Result<Guards> {
    let guards = Guards::of(model, library.version.divides_by_zero(), known);
    let guards = guards.map_err(|e| e.in_operation("build"))?;
    let inputs = &model.signature().inputs;
    guards.expect_elements(model.signature(), |i, axis| inputs[i].shape.dims()[axis].max())?;
    Ok(guards)
}

/// A session of a model with its guards.
pub(super) fn session(
    library: &'static Library,
    source: Source<'_>,
    mut guards: Guards,
    bound: &MemoryBound,
) -> Result<(Session, Guards)> {
    let Source { model, plan, is_whole } = source;
    let model_alone = guards.are_needed() || !is_whole || model.is_beyond_a_message();
    let bytes = match model_alone {
        // ONNX Runtime takes the weights from the plan, and they are not written a second time. It also reads no model of
        // more than 2 GiB.
        true => Bytes::from(guards.bytes_over(model, plan, is_whole)),
        false => plan.clone(),
    };
    let weights = model_alone.then(|| plan.clone());
    // Layouts that are faster within a model are turned back for each value that it gives: a ResNet-50 that gives all
    // its values takes 2.1 times as long with them as it takes itself, and 1.6 times without.
    let nodes = model.proto().graph.as_ref().map_or(0, |graph| graph.node.len());
    let level = match model.signature().outputs.len() * 2 > nodes.max(MANY_OUTPUTS) {
        true => GraphOptimizationLevel::Level2,
        false => GraphOptimizationLevel::All,
    };
    let most = bound.of_arena(model.signature());
    let parts = Parts { bytes, weights, level, most };
    Ok((committed(library, parts, &guards)?, guards))
}

/// Models of fewer values are as fast either way.
const MANY_OUTPUTS: usize = 32;

/// What stops the making of a session.
type Cancel = Box<dyn Fn() + Send + Sync>;

/// What a session is made of.
struct Parts {
    bytes: Bytes,
    /// The bytes that weights of the model are parts of, if the model does not hold the weights itself.
    weights: Option<Bytes>,
    level: GraphOptimizationLevel,
    /// So many bytes the session may take.
    most: Option<usize>,
}

fn committed(library: &'static Library, parts: Parts, guards: &Guards) -> Result<Session> {
    let (limit, threads) = (progress::limit(), progress::threads());
    let Parts { bytes, weights, level, most } = parts;
    let told = log::wanted();
    // Of the session that is being made, once it is.
    let cancel: Arc<OnceLock<Cancel>> = Arc::default();
    let (known, still) = (cancel.clone(), limit.clone());
    let build = move || -> ort::Result<Session> {
        let builder = Session::builder(&library.environment)?;
        // ONNX Runtime's own default. With level 3, 1.29 gives zeros for a product of half precision with 4-bit weights.
        let mut builder = builder.with_optimization_level(level)?.with_log_level(told)?;
        // Weights in 4 bits are multiplied with activations as they are, and not with activations rounded to 8 bits.
        builder = builder.with_config_entry("session.qdq_matmulnbits_accuracy_level", "1")?;
        if let Some(threads) = threads {
            // Others compute beside it: threads that wait in a loop after a run would take their time.
            builder = builder.with_intra_threads(threads)?;
            builder = builder.with_config_entry("session.force_spinning_stop", "1")?;
        }
        if let Some(weights) = &weights {
            memory::take_weights_from(&mut builder, weights)?;
        }
        let canceler = builder.canceler();
        let cancel = known.get_or_init(|| Box::new(move || drop(canceler.cancel())));
        // The limit may have been over before this could be called.
        if still.as_ref().is_some_and(|limit| limit.check().is_err()) {
            cancel();
        }
        let arena = most.map(|most| Arena::of(library, most, still.as_ref())).transpose()?;
        match arena.flatten() {
            Some(_arena) => builder.with_env_allocators()?.commit_from_memory(&bytes),
            None => builder.commit_from_memory(&bytes),
        }
    };
    let guarded_build = move || guarded(ErrorKind::Build, build);
    let built = match &limit {
        Some(limit) => {
            let stop = move || cancel.get().into_iter().for_each(|cancel| cancel());
            apart(limit, stop, guarded_build).map_err(|e| e.in_operation("build"))?
        }
        None => guarded_build(),
    };
    let refused = |reason: &dyn fmt::Display| {
        let text = format!("ONNX Runtime {} refuses the model: {reason}", library.version);
        Error::new(ErrorKind::Build, text).in_operation("build")
    };
    let built = built.map_err(|panic| refused(&panic))?;
    built.map_err(|e| match limit.and_then(|limit| limit.check().err()) {
        Some(over) => over.in_operation("build").with_source(e),
        None => {
            let text = e.to_string();
            let found = guards.found(ErrorKind::Build, &text);
            let found = found.or_else(|| memory::full(ErrorKind::Build, &text));
            found.unwrap_or_else(|| refused(&e)).with_source(e)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ort::{Ort, OrtExecutable};
    use crate::backend::{Backend as _, Executable as _};
    use crate::export::{GraphBuilder, Target};
    use crate::spec::DType;
    use crate::tensor::HostTensor;

    #[test]
    fn weights_apart_give_what_a_whole_model_gives() {
        let Ok(library) = library::load() else {
            eprintln!("skipped: no ONNX Runtime");
            return;
        };
        let graph = GraphBuilder::new("layers");
        let x = graph.input("x", DType::F32, [2, 64]).unwrap();
        let floats: Vec<f32> = (0..64 * 64).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let large = HostTensor::from_vec([64, 64], floats.clone()).unwrap();
        let small = HostTensor::from_vec([64], floats[..64].to_vec()).unwrap();
        let rows = HostTensor::from_vec([256], (0..256).map(|i| i % 2).collect::<Vec<i64>>());
        let weight = |name: &str, value| graph.weight(name, value).unwrap();
        let y = x.linear(&weight("w", large), Some(&weight("b", small))).unwrap();
        let y = y.gather(&weight("rows", rows.unwrap()), 0).unwrap();
        graph.output("y", &y).unwrap();
        let model = graph.finish().unwrap().for_target(Target::onnx_runtime()).unwrap();
        let (engine, whole) = Ort.build_and_load(&model).unwrap();
        let x = HostTensor::from_vec([2, 64], floats[..128].to_vec()).unwrap();
        let expected = whole.run(std::slice::from_ref(&x)).unwrap();

        let read = OnnxModel::from_bytes(engine.plan().clone()).unwrap();
        for (model, is_whole) in [(&model, true), (&read, true), (&read, false)] {
            let mut guards = guards(model, library, None).unwrap();
            let bytes = Bytes::from(guards.bytes_over(model, engine.plan(), is_whole));
            // Two weights of 16 and 2 KiB stay where they are.
            assert!(bytes.len() < 2048, "{} bytes", bytes.len());
            // A copy of its own, which goes with the making of the session.
            let weights = Some(Bytes::from(engine.plan().to_vec()));
            let level = GraphOptimizationLevel::All;
            let parts = Parts { bytes, weights, level, most: None };
            let session = committed(library, parts, &guards).unwrap();
            let bound = bound(model).unwrap();
            let apart = OrtExecutable::new(session, &engine, Checks { guards, bound });
            assert_eq!(apart.run(std::slice::from_ref(&x)).unwrap(), expected);
        }
    }
}
