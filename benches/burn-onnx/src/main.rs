//! What exporting Burn models costs here and with burn-onnx's exporter: time and memory until the model is a
//! file, and whether the file computes what Burn does. Prints a table.

#[path = "../../export/measure.rs"]
#[allow(dead_code)]
mod measure;

#[path = "../../../tests/models/bert.rs"]
#[allow(dead_code)]
mod bert;
#[path = "../../../tests/models/convnext.rs"]
mod convnext;
#[path = "../../../tests/models/gpt.rs"]
mod gpt;
#[path = "../../../tests/models/mobilenet.rs"]
mod mobilenet;
#[path = "../../../tests/models/recurrent.rs"]
#[allow(dead_code)]
mod recurrent;
#[path = "../../../tests/models/resnet.rs"]
mod resnet;
#[path = "../../../tests/models/unet.rs"]
mod unet;
#[path = "../../../tests/models/vit.rs"]
mod vit;
#[path = "../../../tests/models/weights.rs"]
mod weights;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use accelerant::burn::{BurnTensors, export_onnx};
use accelerant::export::OnnxModel;
use accelerant::{BackendKind, HostTensor, InferenceModule, OptimizeOptions};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_onnx::export::{ExportInput, ExportOutput, OnnxExporter};
use measure::{median, peak, write_parameters};

/// What one exporter made of a model.
struct Outcome {
    /// Exported only, in memory.
    export: Duration,
    /// Exported and written to a file.
    whole: Duration,
    /// The most that was in use at once during both.
    memory: usize,
    /// The largest difference from Burn's result, in parts of its largest value.
    error: Result<f64, String>,
}

fn host(tensors: impl BurnTensors) -> Vec<HostTensor> {
    let mut out = Vec::new();
    tensors.into_host(&mut out).expect("CPU tensors can be read");
    out
}

/// Runs a file on the portable backend.
fn error(path: &Path, inputs: &[HostTensor], expected: &[HostTensor]) -> Result<f64, String> {
    let options = OptimizeOptions::new().require(BackendKind::Tract);
    let model = OnnxModel::open(path).map_err(|e| e.to_string())?;
    let module = InferenceModule::compile(&model, &options).map_err(|e| e.to_string())?;
    let outputs = module.run(inputs).map_err(|e| e.to_string())?;
    let values = |tensor: &HostTensor| tensor.to_vec::<f32>().map_err(|e| e.to_string());
    let mut worst = 0.0f64;
    for (got, expected) in outputs.iter().zip(expected) {
        let (got, expected) = (values(got)?, values(expected)?);
        let scale = expected.iter().fold(0.0f32, |scale, x| scale.max(x.abs()));
        // A reference that is all the same would agree with much; NaN agrees with nothing.
        if expected.iter().all(|x| *x == expected[0]) || got.len() != expected.len() {
            return Err(format!("{} values, not comparable with {}", got.len(), expected.len()));
        }
        for (x, y) in got.iter().zip(&expected) {
            let error = f64::from((x - y).abs() / scale);
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
    }
    Ok(worst)
}

fn measured<T>(
    path: &Path,
    inputs: &[HostTensor],
    expected: &[HostTensor],
    export: impl Fn() -> T,
    save: impl Fn(T),
) -> Outcome {
    let (memory, ()) = peak(|| save(export()));
    Outcome {
        export: median(|| drop(black_box(export()))),
        whole: median(|| save(export())),
        memory,
        error: error(path, inputs, expected),
    }
}

fn row(name: &str, exporter: &str, size: usize, baseline: Duration, outcome: &Outcome) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let error = match &outcome.error {
        Ok(error) => format!("{error:.0e}"),
        Err(text) => text.clone(),
    };
    println!(
        "| {name} | {exporter} | {:.1} | {:.1} | {:.2} | {:.2} | {error} |",
        ms(outcome.export),
        ms(outcome.whole),
        outcome.whole.as_secs_f64() / baseline.as_secs_f64(),
        outcome.memory as f64 / size as f64,
    );
}

/// Reproducible values in -1..1.
fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut state = 1u64;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn network<M, I, O>(name: &str, module: M, example: I, forward: impl Fn(&M, I) -> O)
where
    M: Module,
    I: BurnTensors + ExportInput + Clone,
    O: BurnTensors + ExportOutput,
{
    let module = &weights::randomized(module);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, weights) = (folder.path().join("m.onnx"), folder.path().join("weights"));
    let (inputs, expected) = (host(example.clone()), host(forward(module, example.clone())));
    let options = OptimizeOptions::new();
    let size = 4 * module.num_params();

    // Both on a warm page cache, and with the same baseline: the parameters to one file.
    let baseline = median(|| write_parameters(module, &weights));
    let ours = || export_onnx(module, &example, &forward, &options).expect("it is exported");
    let saved = |model: OnnxModel| model.save(&path).expect("it is saved");
    let outcome = measured(&path, &inputs, &expected, ours, saved);
    row(name, "accelerant", size, baseline, &outcome);

    let theirs = || OnnxExporter::new().export(module, example.clone(), &forward);
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| theirs().map(drop)));
    let refusal = match tried {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            // Up to the operation's name; what follows are its sizes.
            let text = error.to_string();
            Some(text.split(" {").next().unwrap_or(&text).to_owned())
        }
        Err(_) => Some("it panics".to_owned()),
    };
    if let Some(refusal) = refusal {
        println!("| {name} | burn-onnx | | | | | refused: {refusal} |");
        return;
    }
    let saved = |model: burn_onnx::export::OnnxModel| {
        model.save(&path).expect("it is saved");
        // As durable as the others.
        std::fs::File::open(&path).and_then(|file| file.sync_all()).expect("it is synchronized");
    };
    let outcome = measured(&path, &inputs, &expected, || theirs().expect("as before"), saved);
    row(name, "burn-onnx", size, baseline, &outcome);
}

fn main() {
    let device = Device::flex();
    println!(
        "| model | exporter | export, ms | export and save, ms | times the parameters' \
         | memory / parameters | error |"
    );
    println!("|---|---|---|---|---|---|---|");
    let image = |shape: [usize; 4]| noise(shape, &device);
    let pixels = image([1, 3, 224, 224]);
    let resnet = resnet::ResNet::new_18(1000, &device);
    network("ResNet-18, 224", resnet, pixels.clone(), |m, x| m.forward(x));
    let resnet = resnet::ResNet::new_50(1000, &device);
    network("ResNet-50, 224", resnet, pixels.clone(), |m, x| m.forward(x));
    let mobile = mobilenet::MobileNetV2::new(1000, &device);
    network("MobileNetV2, 224", mobile, pixels.clone(), |m, x| m.forward(x));
    let unet = unet::UNet::new(64, 4, 2, &device);
    network("U-Net, 64", unet, image([1, 3, 64, 64]), |m, x| m.forward(x));
    let stage = convnext::ConvNextStage::new(32, 64, 2, &device);
    network("ConvNeXt stage", stage, image([1, 32, 16, 20]), |m, x| m.forward(x));
    let vit = vit::VisionTransformer::base_16(224, 1000, &device);
    network("ViT-B/16", vit, pixels, |m, x| m.forward(x));
    let bert = bert::Bert::new(bert::BASE, &device);
    let text = Tensor::<2, Int>::ones([1, 128], &device);
    let forward =
        |m: &bert::Bert, (ids, mask): (Tensor<2, Int>, Tensor<2, Int>)| m.forward(ids, mask);
    network("BERT-base, 128 tokens", bert, (text.clone(), text.clone()), forward);
    let gpt = gpt::Gpt::new(1000, 128, 768, 12, 2, &device);
    network("GPT block, 128 tokens", gpt, text, |m, x| m.forward(x));
    let lstm = recurrent::LstmClassifier::new(64, 128, 10, &device);
    let steps = noise([1, 32, 64], &device);
    network("LSTM, 32 steps", lstm, steps, |m, x| m.forward(x));
}
