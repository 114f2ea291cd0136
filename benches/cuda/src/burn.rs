//! Native Burn on a CUDA device, the accelerated module on the same device tensors, and the raw loop
//! over the same engine. Burn's own networks are those of the tests.

#[allow(dead_code)]
#[path = "../../../tests/models/bert.rs"]
mod bert;
#[allow(dead_code)]
#[path = "../../../tests/models/digits.rs"]
mod digits;
#[allow(dead_code)]
#[path = "../../../tests/models/resnet.rs"]
mod resnet;
#[allow(dead_code)]
#[path = "../../../tests/models/vit.rs"]
mod vit;

use std::time::{Duration, Instant};

use accelerant::DType;
use accelerant::burn::{BurnModule, BurnTensors, OptimizeTrt};
use burn::module::Module;
use burn::tensor::{Device, Distribution, FloatDType, Int, IntDType, Tensor};
use digits::Digits;
use half::f16;
use serde_json::json;

use crate::{Model, Plan, Precision, Result, Setting, Who, record, timing};

/// A device whose floats are of one type. Burn wants that said once, before there is any tensor.
pub(crate) fn device(ordinal: usize, precision: Precision) -> Result<Device> {
    let mut device = Device::cuda(ordinal);
    let float = match precision {
        Precision::F32 => FloatDType::F32,
        Precision::F16 => FloatDType::F16,
    };
    device.configure((float, IntDType::I32)).map_err(|e| format!("{e:?}"))?;
    Ok(device)
}

pub(crate) fn measure(setting: &Setting, plan: &Plan) -> Result<()> {
    if setting.any.is_some() || !setting.batch_sizes.is_empty() {
        return Err("sizes that are not fixed are measured with --framework candle".into());
    }
    cases(setting, plan, false)
}

/// From the start of the process to the first result of Burn itself, which tunes itself for it unless
/// it did so before in this folder.
pub(crate) fn start_native(setting: &Setting, model: Model) -> Result<()> {
    let plan = Plan {
        models: vec![model],
        dtypes: vec![Precision::F32],
        batches: vec![1],
        who: Vec::new(),
        cuda_graphs: Vec::new(),
        iterations: 1,
        seconds: 3600,
        raw_loop: None,
    };
    cases(setting, &plan, true)
}

fn cases(setting: &Setting, plan: &Plan, start_only: bool) -> Result<()> {
    let &[precision] = &*plan.dtypes else {
        return Err("Burn takes one type a process: --dtypes f32, or f16".into());
    };
    let device = device(setting.device, precision)?;
    let end = setting.start + Duration::from_secs(plan.seconds);
    for &model in &plan.models {
        for &batch in &plan.batches {
            let what = (model, precision, batch);
            if Instant::now() > end {
                eprintln!("left out for time: {} {} {batch}", model.name(), precision.name());
                continue;
            }
            let images = |channels, size| {
                Tensor::<4>::random([batch, channels, size, size], Distribution::Default, &device)
            };
            let sentences = || {
                let range = Distribution::Uniform(0.0, 30000.0);
                let tokens = Tensor::<2, Int>::random([batch, 128], range, &device);
                (tokens.clone(), tokens.ones_like())
            };
            let begun = Instant::now();
            let context = Context { setting, plan, device: &device, what, begun, start_only };
            let measured = match model {
                Model::Digits => context.case(Digits::new(&device), images(1, 8), Digits::forward),
                Model::ResNet50 => {
                    let net = resnet::ResNet::new_50(1000, &device);
                    context.case(net, images(3, 224), resnet::ResNet::forward)
                }
                Model::VitB16 => {
                    let net = vit::VisionTransformer::base_16(224, 1000, &device);
                    context.case(net, images(3, 224), vit::VisionTransformer::forward)
                }
                Model::BertBase | Model::MiniLm => {
                    let sizes = if model == Model::BertBase { bert::BASE } else { bert::MINILM };
                    let net = bert::Bert::new(sizes, &device);
                    context.case(net, sentences(), |net: &bert::Bert, (tokens, mask)| {
                        net.forward(tokens, mask)
                    })
                }
            };
            if let Err(error) = measured {
                eprintln!("{} {} {batch}: {error}", model.name(), precision.name());
            }
        }
    }
    Ok(())
}

struct Context<'a> {
    setting: &'a Setting,
    plan: &'a Plan,
    device: &'a Device,
    what: (Model, Precision, usize),
    /// When the network began to be made.
    begun: Instant,
    start_only: bool,
}

impl Context<'_> {
    fn wait(&self) -> Result<()> {
        Ok(self.device.sync().map_err(|e| format!("{e:?}"))?)
    }

    fn case<M: Module, I: BurnTensors + ToDevice, const D: usize>(
        &self,
        net: M,
        input: I,
        forward: impl Fn(&M, I) -> Tensor<D> + Copy,
    ) -> Result<()> {
        let (model, precision, batch) = self.what;
        if self.start_only {
            self.wait()?;
            let weights_ms = timing::millis(self.begun.elapsed());
            let loaded = timing::millis(self.setting.start.elapsed()) - weights_ms;
            let tuned = std::path::Path::new("target/environment").exists();
            forward(&net, input);
            self.wait()?;
            record::start(self.setting, model, "Burn", tuned, loaded, weights_ms);
            return Ok(());
        }
        let iterations = self.plan.iterations;
        let wants = |who| self.plan.who.contains(&who);
        let mut results = Results::default();
        // The accelerated one first: a native one may tune itself for minutes.
        if wants(Who::Accelerated) {
            for &cuda_graph in &self.plan.cuda_graphs {
                let who = if cuda_graph { "accelerant, burn, graph" } else { "accelerant, burn" };
                let module: BurnModule<I, Tensor<D>> = net.optimize_trt_with(
                    input.clone(),
                    forward,
                    &self.setting.options(cuda_graph),
                )?;
                let mut got = None;
                let call = || {
                    got = Some(module.forward(input.clone()));
                    Ok(())
                };
                let times = timing::by_wall_clock(iterations, call, || self.wait())?;
                record::times(who, model, precision, batch, times);
                let counters = module.inference().device().map(|device| device.counters());
                eprintln!("{who}: {counters:?}");
                results.of_module(who, &module, input.clone(), got)?;
            }
        }
        if let (true, Some(program)) = (wants(Who::Raw), &self.plan.raw_loop) {
            let options = self.setting.options(false);
            let module = net.optimize_trt_with(input.clone(), forward, &options)?;
            timing::raw_loop(program, module.inference().engine(), self.what, iterations)?;
        }
        if wants(Who::Native) {
            let mut expected = None;
            let call = || {
                expected = Some(forward(&net, input.clone()));
                Ok(())
            };
            let times = timing::by_wall_clock(iterations, call, || self.wait())?;
            record::times("burn", model, precision, batch, times);
            if let Some(expected) = expected {
                results.push("burn", expected)?;
            }
        }
        // More takes the CPU minutes.
        if precision == Precision::F32 && batch <= 8 && !results.0.is_empty() {
            let cpu = Device::flex();
            results
                .push("burn on the CPU", forward(&net.to_device(&cpu), input.to_device(&cpu)))?;
        }
        results.tell(precision)
    }
}

/// Inputs that can be had on another device.
trait ToDevice: Clone {
    fn to_device(self, device: &Device) -> Self;
}

impl ToDevice for Tensor<4> {
    fn to_device(self, device: &Device) -> Self {
        Tensor::to_device(self, device)
    }
}

impl ToDevice for (Tensor<2, Int>, Tensor<2, Int>) {
    fn to_device(self, device: &Device) -> Self {
        (Tensor::to_device(self.0, device), Tensor::to_device(self.1, device))
    }
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f64>> {
    let data = tensor.into_data().convert::<f64>();
    Ok(data.try_to_vec::<f64>().map_err(|e| format!("{e:?}"))?)
}

/// The largest difference, of the largest value. Not a number where there is one among the values.
pub(crate) fn difference(got: &[f64], expected: &[f64]) -> f64 {
    // What is not a number counts as larger than all that are.
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.map(f64::abs).max_by(f64::total_cmp).unwrap_or_default()
    };
    largest(&mut got.iter().zip(expected).map(|(got, expected)| got - expected))
        / largest(&mut expected.iter().copied())
}

/// What was computed of the same input, and by whom.
#[derive(Default)]
struct Results(Vec<(String, Vec<f64>)>);

impl Results {
    fn push<const D: usize>(&mut self, who: &str, result: Tensor<D>) -> Result<()> {
        self.0.push((who.to_owned(), values(result)?));
        Ok(())
    }

    /// The last of many calls on Burn's tensors, one that runs beside another on tensors in host memory, that
    /// other, and one that runs alone.
    fn of_module<I: BurnTensors + Clone, const D: usize>(
        &mut self,
        who: &str,
        module: &BurnModule<I, Tensor<D>>,
        input: I,
        got: Option<Tensor<D>>,
    ) -> Result<()> {
        let mut inputs = Vec::new();
        input.clone().into_host(&mut inputs)?;
        let host = || -> Result<Vec<f64>> {
            let y = &module.inference().run(&inputs)?[0];
            Ok(match y.dtype() {
                DType::F16 => y.to_vec::<f16>()?.into_iter().map(f64::from).collect(),
                _ => y.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
            })
        };
        if let Some(got) = got {
            self.push(who, got)?;
        }
        let beside = module.try_forward(input)?;
        let on_host = host()?;
        self.push(&format!("{who}, beside the host's"), beside)?;
        self.0.push((format!("{who}, on the host's tensors"), on_host));
        self.0.push((format!("{who}, on the host's tensors alone"), host()?));
        Ok(())
    }

    /// How far all are from the last, which is Burn's on the CPU where there is one.
    fn tell(&self, precision: Precision) -> Result<()> {
        let Some(((reference, expected), others)) = self.0.split_last() else { return Ok(()) };
        let mut wrong = 0;
        for (who, got) in others {
            let difference = difference(got, expected);
            eprintln!("{who}: {difference:.2e} of the largest value off {reference}");
            let allowed = precision.tolerance();
            wrong += usize::from(
                got.len() != expected.len() || difference.is_nan() || difference > allowed,
            );
        }
        if wrong > 0 {
            return Err(format!("{wrong} results are wrong").into());
        }
        Ok(())
    }
}

/// One module, many calls on device tensors.
pub(crate) fn forwards(setting: &Setting, count: usize, graph: bool) -> Result<()> {
    let device = device(setting.device, Precision::F32)?;
    let net = Digits::new(&device);
    let input = Tensor::<4>::random([1, 1, 8, 8], Distribution::Default, &device);
    let module: BurnModule<Tensor<4>, Tensor<2>> =
        net.optimize_trt_with(input.clone(), Digits::forward, &setting.options(graph))?;
    let values = |output: Tensor<2>| output.into_data();
    let expected = values(module.try_forward(input.clone())?);
    for _ in 0..count / 100 {
        module.forward(input.clone());
    }
    device.sync().map_err(|e| format!("{e:?}"))?;
    let before = timing::memory(setting.device)?;
    let begun = Instant::now();
    for i in 0..count {
        let output = module.forward(input.clone());
        if i % 10_000 == 0 && values(output) != expected {
            return Err(format!("call {i} gave other values").into());
        }
    }
    device.sync().map_err(|e| format!("{e:?}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = timing::memory(setting.device)?;
    record::print(
        "forwards, burn",
        json!({
            "model": Model::Digits.name(),
            "cuda_graph": graph,
            "count": count,
            "seconds": seconds,
            "device_growth_mb": after.0 - before.0,
            "host_growth_mb": after.1 - before.1,
        }),
    );
    Ok(())
}
