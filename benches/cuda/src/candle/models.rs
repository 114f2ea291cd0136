//! Native Candle, the accelerated module on the same device tensors, and the raw loop over the same
//! engine.

use std::time::{Duration, Instant};

use accelerant::Dim;
use accelerant::candle::CandleModule;
use candle_core::{Device, Tensor};

use super::nets::{Net, Weights};
use crate::{Any, Model, Plan, Precision, Result, Setting, Who, record, timing};

/// Who computes natively.
const NATIVE: &str = if cfg!(feature = "cudnn") { "candle, cudnn" } else { "candle" };

/// A device with a stream of its own.
pub(super) fn device(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    // As the others do: products of f32 in TF32.
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    Ok(device)
}

/// A network, inputs for it, and the module that was made of it.
pub(super) struct Case {
    pub net: Net,
    pub inputs: Vec<Tensor>,
}

impl Case {
    pub(super) fn new(
        model: Model,
        precision: Precision,
        batch: usize,
        device: &Device,
    ) -> Result<Self> {
        let weights = Weights::new(precision, device);
        let net = Net::new(model, &weights)?;
        let inputs = net.inputs(&weights, batch)?;
        Ok(Self { net, inputs })
    }

    pub(super) fn compile(&self, setting: &Setting, cuda_graph: bool) -> Result<CandleModule> {
        let examples: Vec<_> = self.inputs.iter().collect();
        let size = |axis| self.inputs[0].dim(axis);
        let open = match (setting.any, &self.net, &*setting.batch_sizes) {
            (Some(Any::Batch), ..) => Some((0, Dim::dynamic("batch", 1..=size(0)?)?)),
            (Some(Any::Length), Net::Bert(_), _) => {
                Some((1, Dim::dynamic("length", 1..=size(1)?)?))
            }
            (Some(Any::Length), ..) => return Err("only texts have a length".into()),
            (None, _, []) => None,
            (None, _, sizes @ &[first, ..]) => {
                let most = sizes.iter().copied().max().unwrap_or(first);
                let sizes = sizes.iter().copied();
                Some((0, Dim::dynamic("batch", 1..=most)?.tuned_for(sizes)?.with_opt(first)?))
            }
        };
        let mut options = setting.options(cuda_graph);
        if let Some((axis, dim)) = open {
            for input in 0..examples.len() {
                options = options.dynamic_axis(input, axis, dim.clone());
            }
        }
        Ok(CandleModule::of_fn(examples.as_slice(), &options, |inputs| {
            Ok(vec![self.net.forward(inputs)?])
        })?)
    }
}

pub(crate) fn measure(setting: &Setting, plan: &Plan) -> Result<()> {
    let device = device(setting.device)?;
    let end = setting.start + Duration::from_secs(plan.seconds);
    for &model in &plan.models {
        for &precision in &plan.dtypes {
            for &batch in &plan.batches {
                let what = format!("{} {} {batch}", model.name(), precision.name());
                if Instant::now() > end {
                    eprintln!("left out for time: {what}");
                    continue;
                }
                // What one model cannot do is no reason to lose the others.
                if let Err(error) = case(setting, plan, &device, (model, precision, batch)) {
                    eprintln!("{what}: {error}");
                }
            }
        }
    }
    Ok(())
}

fn case(
    setting: &Setting,
    plan: &Plan,
    device: &Device,
    (model, precision, batch): (Model, Precision, usize),
) -> Result<()> {
    let stream = device.as_cuda_device()?.cuda_stream();
    let case = Case::new(model, precision, batch, device)?;
    let inputs: Vec<_> = case.inputs.iter().collect();
    let wants = |who| plan.who.contains(&who);
    let mut expected = None;
    if wants(Who::Native) {
        let times = timing::by_events(&stream, plan.iterations, || {
            expected = Some(case.net.forward(&case.inputs)?);
            Ok(())
        })?;
        record::times(NATIVE, model, precision, batch, times);
    }
    // On the engine that comes first: graphs are made at run time.
    let mut raw = plan.raw_loop.as_deref().filter(|_| wants(Who::Raw));
    for &cuda_graph in &plan.cuda_graphs {
        if !wants(Who::Accelerated) && raw.is_none() {
            continue;
        }
        let graph = if cuda_graph { ", graph" } else { "" };
        let any = match setting.any {
            Some(Any::Batch) => ", any batch",
            Some(Any::Length) => ", any length",
            None => "",
        };
        let sizes = if setting.batch_sizes.is_empty() { "" } else { ", batch sizes" };
        let profile = if setting.one_profile { ", one profile" } else { "" };
        let who = &format!("accelerant, candle{graph}{any}{sizes}{profile}");
        let module = case.compile(setting, cuda_graph)?;
        if wants(Who::Accelerated) {
            let mut got = Vec::new();
            let times = timing::by_events(&stream, plan.iterations, || {
                got = module.run(inputs.as_slice())?;
                Ok(())
            })?;
            record::times(who, model, precision, batch, times);
            if let Some(expected) = &expected {
                let mut differences = vec![difference(&got[0], expected)?];
                // In rows, as kernels that do not wait for each other show only when they follow closely.
                for _ in 0..10 {
                    let row: Vec<_> =
                        (0..10).map(|_| module.run(inputs.as_slice())).collect::<Result<_, _>>()?;
                    for got in row {
                        differences.push(difference(&got[0], expected)?);
                    }
                }
                differences.sort_by(f64::total_cmp);
                let (least, median) = (differences[0], differences[differences.len() / 2]);
                let most = differences[differences.len() - 1];
                eprintln!(
                    "{who}: {} {} {batch}: calls are {least:.2e} to {most:.2e}, mostly {median:.2e} of the \
                     largest value off native",
                    model.name(),
                    precision.name(),
                );
                if most > precision.tolerance() {
                    return Err(format!("{who}: results are wrong").into());
                }
            }
            if let Some(device) = module.inference().device() {
                eprintln!("{who}: {:?} {:?}", device.counters(), device.memory());
            }
        }
        if let Some(program) = raw.take() {
            let what = (model, precision, batch);
            timing::raw_loop(program, module.inference().engine(), what, plan.iterations)?;
        }
    }
    Ok(())
}

fn difference(got: &Tensor, expected: &Tensor) -> Result<f64> {
    let [got, expected] = [got, expected].map(|t| t.to_dtype(candle_core::DType::F64));
    let (got, expected) = (got?, expected?);
    let largest = |t: &Tensor| t.abs()?.max_all()?.to_scalar::<f64>();
    let difference = largest(&got.sub(&expected)?)? / largest(&expected)?;
    if !difference.is_finite() {
        return Err("the results have values that are no numbers, and cannot be compared".into());
    }
    Ok(difference)
}
