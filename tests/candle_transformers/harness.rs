//! How a model is compared: read by `traced!` with the crate's own on the same weights, and
//! exported with both. No models here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use accelerant::Registry;
use accelerant::candle::{Examples, Trace, Traceable, Traced};
use accelerant::{BackendKind, Dim, HostTensor, OptimizeOptions};
use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use serde_json::Value;

use crate::common::{self, Runner, Sample, Tolerance, random, to_f64};

/// A model of the crate and how it is called.
pub(crate) struct Case<T> {
    pub(crate) name: &'static str,
    /// The call, as it stands in the source.
    pub(crate) call: &'static str,
    pub(crate) inputs: Vec<Tensor>,
    /// Makes it from weights.
    pub(crate) build: fn(VarBuilder<'static>) -> Result<Model<T>>,
}

/// What a forward does, for tensors of one kind.
type Run<T> = Box<dyn Fn(&[T]) -> Result<Vec<T>>>;

pub(crate) struct Model<T> {
    pub(crate) run: Run<T>,
    /// Where no closure is needed.
    pub(crate) stands: Option<Rc<dyn Traceable>>,
}

/// Weights that depend on their name and shape alone, at a size at which values neither grow nor
/// vanish.
struct Weights;

impl SimpleBackend for Weights {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        // Nor have checkpoints windows of no size, or a projection that changes no size.
        let same = shape.rank() == 2 && shape.dims()[0] == shape.dims()[1];
        let in_block =
            name.contains("blocks.") && !name.contains("attn") && !name.contains("mixer");
        let needless = same && in_block && name.ends_with(".proj.weight");
        if needless || shape.elem_count() == 0 || !self.contains_tensor(name) {
            candle_core::bail!("there is no {name}")
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let (values, _) = random(shape.dims(), hasher.finish()).into_raw_vec_and_offset();
        let tensor = Tensor::from_vec(values, shape.clone(), device)?;
        let inputs = shape.dims().iter().skip(1).product::<usize>().max(1);
        let tensor = match () {
            () if name.ends_with("running_var") => tensor.affine(0.5, 1.5)?,
            () if name.ends_with("bias") || name.ends_with("mean") => tensor.affine(0.1, 0.0)?,
            () if shape.rank() == 1 => tensor.affine(0.2, 1.0)?,
            () if name.contains("layer_scale") => tensor.affine(0.1, 0.0)?,
            // Attention in a cascade doubles what is rounded in each step.
            () if name.contains("qkvs") => tensor.affine(0.3 / (inputs as f64).sqrt(), 0.0)?,
            () if name.contains("embed") || name.contains("token") => tensor,
            () => tensor.affine((2.0 / inputs as f64).sqrt(), 0.0)?,
        };
        tensor.to_dtype(dtype)
    }

    /// Sizes that a model asks for: a few less than the width of all.
    fn get_unchecked(&self, _: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::zeros((32, 8), dtype, device)
    }

    /// What checkpoints of the small configurations have not.
    fn contains_tensor(&self, name: &str) -> bool {
        let parts = [
            "attn2.qkv",
            "grn",
            "proj.1.conv_scale",
            "reparam_conv",
            "stages.0.downsample",
            "stem.2.conv_scale",
        ];
        !parts.iter().any(|part| name.contains(part)) && name != "bert" && !name.ends_with("pooler")
    }
}

pub(crate) fn weights() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Weights), DType::F32, Device::Cpu)
}

pub(crate) fn noise(shape: &[usize]) -> Tensor {
    let (values, _) = random(shape, 7).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(crate) fn image(size: usize) -> Tensor {
    noise(&[1, 3, size, size])
}

/// A batch of two.
#[allow(dead_code, reason = "the table of all models asks for it")]
pub(crate) fn two_texts() -> Tensor {
    ids(14, 64).reshape((2, 7)).unwrap()
}

/// Numbers of a mask.
#[allow(dead_code, reason = "the table of all models asks for it")]
pub(crate) fn mask(shape: &[usize], number: f64) -> Tensor {
    Tensor::zeros(shape, DType::U32, &Device::Cpu).unwrap().affine(1.0, number).unwrap()
}

/// Two lines of tokens, as codes of sounds.
#[allow(dead_code, reason = "the table of all models asks for it")]
pub(crate) fn codes(length: usize, vocabulary: u32) -> Tensor {
    ids(2 * length, vocabulary).reshape((1, 2, length)).unwrap()
}

/// Tokens of a vocabulary, none of them padding.
pub(crate) fn ids(length: usize, vocabulary: u32) -> Tensor {
    let tokens: Vec<u32> = (0..length as u32).map(|i| 3 + (i * 7) % (vocabulary - 3)).collect();
    Tensor::from_vec(tokens, (1, length), &Device::Cpu).unwrap()
}

/// A configuration: what small models have in common, with these fields besides.
pub(crate) fn config<C: serde::de::DeserializeOwned>(fields: &str) -> C {
    const COMMON: &str = include_str!("config.json");
    let mut all: Value = serde_json::from_str(COMMON).unwrap();
    let fields: Value = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
    for (name, value) in fields.as_object().unwrap() {
        all.as_object_mut().unwrap().insert(name.clone(), value.clone());
    }
    all.as_object_mut().unwrap().retain(|_, value| *value != "none");
    serde_json::from_value(all).unwrap()
}

/// As tensors travel: u32 as i64.
fn host(tensor: &Tensor) -> HostTensor {
    let flat = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::F32 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<f32>().unwrap()),
        _ => {
            let flat = flat.to_dtype(DType::I64).unwrap();
            HostTensor::from_vec(tensor.dims(), flat.to_vec1::<i64>().unwrap())
        }
    }
    .unwrap()
}

/// Relative to the largest value of the output: rounding adds up over dozens of layers.
fn tolerance(backend: BackendKind, expected: &HostTensor, call: &str) -> Tolerance {
    let scale = to_f64(expected).into_iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let is_half = call.contains("F16");
    let part = if common::is_portable(&backend) && !is_half { 2e-4 } else { 2e-2 };
    Tolerance { absolute: part * scale, relative: 0.0 }
}

/// What became of a model.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) stands: bool,
    /// Each step that was tried, with what it failed with.
    pub(crate) steps: Vec<(&'static str, std::result::Result<(), String>)>,
}

impl Row {
    fn step<R>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> std::result::Result<R, String>,
    ) -> Option<R> {
        let result = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
                .unwrap_or_else(|| "panic".into()))
        });
        match result {
            Ok(value) => {
                self.steps.push((name, Ok(())));
                Some(value)
            }
            Err(error) => {
                self.steps.push((name, Err(error)));
                None
            }
        }
    }
}

/// The steps that trace symbolic sizes.
const SIZES: [&str; 2] = ["length", "batch"];

#[allow(dead_code, reason = "the table of all models asks for more")]
impl Row {
    pub(crate) fn is_good(&self) -> bool {
        self.steps.iter().all(|(_, result)| result.is_ok())
    }

    /// Whether it gives the crate's results, at the sizes of the example.
    pub(crate) fn is_taken(&self) -> bool {
        self.first_error().is_none()
    }

    fn first_error(&self) -> Option<(&'static str, &str)> {
        let steps = self.steps.iter().filter(|(name, _)| !SIZES.contains(name));
        let failed = steps.filter_map(|(name, result)| Some((*name, result.as_ref().err()?)));
        // The trace tells why a run differs.
        let mut failed: Vec<_> = failed.map(|(name, error)| (name, error.as_str())).collect();
        failed.sort_by_key(|(name, _)| *name != "trace");
        failed.first().copied()
    }

    /// The step that failed, and its error, for a cell of a table.
    pub(crate) fn refusal(&self) -> String {
        self.first_error().map_or(String::new(), |(name, error)| format!("{name}: {}", cell(error)))
    }

    /// The sizes that one export takes, or why there is one size alone.
    pub(crate) fn sizes(&self) -> String {
        match self.steps.iter().find(|(name, _)| SIZES.contains(name)) {
            Some((name, Ok(()))) => format!("any {name}"),
            Some((_, Err(error))) => cell(error),
            None => String::new(),
        }
    }
}

/// The first line of an error, without what would end a cell.
#[allow(dead_code, reason = "the table of all models asks for it")]
fn cell(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let line: String = line.chars().take(600).collect();
    with_expression(&line).unwrap_or(line).replace('|', "\\|")
}

/// An error that ends with its place, with what stands there, and the place as below `models`.
fn with_expression(error: &str) -> Option<String> {
    let (text, place) = error.strip_suffix(')')?.rsplit_once(" (")?;
    let (file, line) = place.rsplit_once(':')?;
    let source = std::fs::read_to_string(file).ok()?;
    let source = source.lines().nth(line.parse::<usize>().ok()?.checked_sub(1)?)?;
    let short = file.rsplit_once("/models/").map_or(file, |(_, file)| file);
    Some(format!("{text}: `{}` in `{short}`, line {line}", source.trim()))
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", if self.stands { "stands" } else { "closure" })?;
        for (name, result) in &self.steps {
            match result {
                Ok(()) => write!(f, ", {name}")?,
                Err(error) => {
                    let line: String = error.chars().take(400).collect();
                    write!(f, ", {name} FAILED: {}", line.replace('\n', " "))?;
                }
            }
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What two equal items should give, where Candle gives two different results: its `Linear` is wrong on
/// the second of what was permuted, on the CPU.
fn alike(output: &Tensor, is_twice: bool) -> Result<Option<Tensor>> {
    let half = output.dim(0)? / 2;
    if !is_twice || half * 2 != output.dim(0)? || output.dtype() != DType::F32 {
        return Ok(None);
    }
    let (first, second) = (output.narrow(0, 0, half)?, output.narrow(0, half, half)?);
    let largest = |x: &Tensor| x.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    match largest(&(&first - &second)?)? > 1e-3 * largest(&first)? {
        true => Tensor::cat(&[&first, &first], 0).map(Some),
        false => Ok(None),
    }
}

pub(crate) fn compare(native: &Case<Tensor>, traced: &Case<Traced>) -> Row {
    let (mut row, inputs) = (Row::default(), &native.inputs);
    let expected = row.step("native", || {
        let model = (native.build)(weights()).map_err(text)?;
        let outputs = (model.run)(inputs).map_err(text)?;
        let outputs: Vec<HostTensor> = outputs.iter().map(host).collect();
        for output in &outputs {
            let values = to_f64(output);
            let first = values.first().copied().unwrap_or(f64::NAN);
            if !values.iter().all(|x| x.is_finite()) || values.iter().all(|x| *x == first) {
                return Err("the native result tells nothing".into());
            }
        }
        Ok(outputs)
    });
    let Some(expected) = expected else { return row };
    let model = row.step("made", || (traced.build)(weights()).map_err(text));
    let Some(model) = model else { return row };
    row.stands = model.stands.is_some();
    row.step("run", || {
        let inputs: Vec<Traced> = inputs.iter().map(Traced::from).collect();
        let outputs = (model.run)(&inputs).map_err(text)?;
        for (got, expected) in outputs.into_iter().zip(&expected) {
            let got = host(&Tensor::try_from(got).map_err(text)?);
            common::compare(&got, expected, tolerance(BackendKind::Tract, expected, native.call))?;
        }
        Ok(())
    });
    let trace = |options: &OptimizeOptions| {
        let examples = Examples::from(&inputs[..]);
        match &model.stands {
            Some(model) => Trace::of(&**model, examples, options),
            None => Trace::of_fn(examples, options, |inputs| (model.run)(inputs)),
        }
        .map_err(text)
    };
    let Some(fixed) = row.step("trace", || trace(&OptimizeOptions::new())) else { return row };
    let sample =
        Sample { name: String::new(), inputs: inputs.iter().map(host).collect(), expected };
    for backend in Registry::default().backends() {
        let (runner, name) = match backend.kind() {
            BackendKind::Ort => (Runner::OnnxRuntime, "ONNX Runtime"),
            BackendKind::TensorRtRtx => (Runner::TensorRtRtx, "TensorRT-RTX"),
            _ => continue,
        };
        if common::is_asked_for(runner) {
            let onnx = || fixed.to_onnx(backend.target()).map_err(text);
            let samples = std::slice::from_ref(&sample);
            let within = |backend, expected: &_| tolerance(backend, expected, native.call);
            row.step(name, || common::run_on(backend.as_ref(), &onnx()?, samples, &within));
        }
    }
    // Pictures and sounds in batches, texts of any length but one token alone; each at another size too.
    let another = |options: OptimizeOptions, inputs: &[Tensor]| {
        let traced = trace(&options)?;
        let outputs = (native.build)(weights()).and_then(|model| (model.run)(inputs));
        let outputs = outputs.map_err(text)?;
        let is_twice = inputs.iter().any(|x| x.dtype() != DType::U32);
        let alike = outputs.iter().map(|output| alike(output, is_twice).map_err(text));
        let alike = alike.collect::<std::result::Result<Vec<_>, _>>()?;
        let wrong = alike.iter().any(Option::is_some);
        let expected =
            outputs.iter().zip(&alike).map(|(output, alike)| alike.as_ref().unwrap_or(output));
        let expected = expected.map(host).collect();
        let name = "another size".to_owned();
        let samples = [Sample { name, inputs: inputs.iter().map(host).collect(), expected }];
        let within = |backend, expected: &_| tolerance(backend, expected, native.call);
        for backend in Registry::default().backends() {
            if backend.kind() == BackendKind::Ort && common::is_asked_for(Runner::OnnxRuntime) {
                let onnx = traced.to_onnx(backend.target()).map_err(text)?;
                common::run_on(backend.as_ref(), &onnx, &samples, &within)?;
            }
        }
        match wrong {
            true => Err("any batch; Candle's own results of two equal items differ".to_owned()),
            false => Ok(()),
        }
    };
    if inputs.iter().all(|x| x.dtype() == DType::U32) {
        let size = inputs[0].dims().last().copied().unwrap_or(1);
        if size == 1 {
            return row;
        }
        row.step("length", || {
            let length = Dim::dynamic("length", 2..=16).map_err(text)?;
            let (mut options, mut shorter) = (OptimizeOptions::new(), inputs.clone());
            for (i, x) in inputs.iter().enumerate() {
                for (axis, _) in x.dims().iter().enumerate().filter(|(_, dim)| **dim == size) {
                    options = options.dynamic_axis(i, axis, length.clone());
                    shorter[i] = shorter[i].narrow(axis, 0, size - 2).map_err(text)?;
                }
            }
            another(options, &shorter)
        });
    } else {
        row.step("batch", || {
            let twice = inputs.iter().map(|x| Tensor::cat(&[x, x], 0)).collect::<Result<Vec<_>>>();
            let options = OptimizeOptions::new().dynamic_batch(1..=3);
            another(options, &twice.map_err(text)?)
        });
    }
    row
}
