//! Mistakes with model files, engine files, tensors on the host, graphs by hand, precision and serving.

use std::fs;

use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::pipeline::Pipeline;
use accelerant::precision::{Calibration, Method, Precision, PrecisionOptions};
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{
    BackendKind, DType, Dim, Engine, HostTensor, InferenceModule, OptimizeOptions, Registry,
    Result, Symbol,
};

use crate::page::{Section, mistake};

/// `y = 2 x`, rows of 3. The file gives no largest number of rows.
fn double() -> Result<OnnxModel> {
    let graph = GraphBuilder::new("double");
    let rows = Symbol::new("rows", 1, 1, Symbol::UNBOUNDED)?;
    let x = graph.input("x", DType::F32, [Dim::Symbol(rows), Dim::from(3)])?;
    graph.output("y", &x.affine(2.0, 0.0)?)?;
    graph.finish()
}

/// `y = x w`, with a weight of 4 KiB.
fn product() -> Result<OnnxModel> {
    let graph = GraphBuilder::new("product");
    let x = graph.input("x", DType::F32, [1, 32])?;
    let w = graph.weight("w", ndarray::Array2::<f32>::zeros((32, 32)))?;
    graph.output("y", &x.matmul(&w)?)?;
    graph.finish()
}

fn zeros(shape: &[usize]) -> HostTensor {
    HostTensor::from(ndarray::ArrayD::<f32>::zeros(shape))
}

#[test]
fn files() {
    let mut page = Section::new("Files and host tensors");
    let folder = tempfile::tempdir().unwrap();
    // Names without a folder, as somebody writes them who works in the folder of the files.
    let _here = Here::enter(folder.path());
    let tract = OptimizeOptions::new().require(BackendKind::Tract);

    // Files that are no models.
    mistake!(page, "A file that is not there, in Rust", OnnxModel::open("model.onnx"));
    fs::create_dir("models").unwrap();
    mistake!(page, "A folder instead of a file", OnnxModel::open("models"));
    fs::write("text.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:0").unwrap();
    mistake!(page, "A pointer of Git LFS instead of the file", OnnxModel::open("text.onnx"));
    fs::write("model.pt", b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl").unwrap();
    mistake!(page, "A checkpoint of PyTorch", OnnxModel::open("model.pt"));
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    fs::write("model.safetensors", [&length[..], header, &[0; 4]].concat()).unwrap();
    mistake!(page, "A safetensors file", OnnxModel::open("model.safetensors"));
    let bytes = product().unwrap().to_bytes();
    fs::write("cut.onnx", &bytes[..bytes.len() / 2]).unwrap();
    mistake!(page, "A file that was not copied to its end", OnnxModel::open("cut.onnx"));
    product().unwrap().save_external("big.onnx", 1024).unwrap();
    for entry in fs::read_dir(".").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("big") && name != "big.onnx" {
            fs::remove_file(name).unwrap();
        }
    }
    let text = crate::page::chain(&OnnxModel::open("big.onnx").unwrap_err());
    // The name of the weights' file has their hash.
    let text = text.split_whitespace().map(|word| match word.contains("big.onnx.") {
        true => "big.onnx.….weights".to_owned(),
        false => word.to_owned(),
    });
    let text = text.collect::<Vec<_>>().join(" ");
    page.add(
        "A model without its weights' file",
        "rust,ignore",
        r#"OnnxModel::open("big.onnx")"#,
        &text,
    );

    // Sizes.
    mistake!(
        page,
        "A symbol that the model does not have, in Rust",
        double().unwrap().bind("batch", 1..=8)
    );
    mistake!(page, "A range without a size", double().unwrap().bind("rows", 1..=0));
    let fast = InferenceModule::compile(&double().unwrap().bind("rows", 1..=8).unwrap(), &tract);
    let fast = fast.unwrap();
    mistake!(page, "A size beyond the range", fast.run(&[zeros(&[9, 3])]));
    mistake!(page, "Another number of inputs", fast.run(&[zeros(&[1, 3]), zeros(&[1, 3])]));
    mistake!(page, "Another size of a fixed axis", fast.run(&[zeros(&[1, 4])]));
    mistake!(page, "Another type", fast.run(&[HostTensor::from(ndarray::array![[1i64, 2, 3]])]));
    mistake!(
        page,
        "Values that do not fill the shape",
        HostTensor::from_vec([2, 3], vec![0f32; 5])
    );
    let outputs = fast.run(&[zeros(&[1, 3])]).unwrap();
    mistake!(page, "An output read as another type", outputs[0].to_vec::<i64>());

    // Engines.
    double().unwrap().bind("rows", 1..=8).unwrap().save("double.onnx").unwrap();
    mistake!(page, "A model opened as an engine", Engine::open("double.onnx"));
    fast.engine().save("double.engine").unwrap();
    mistake!(page, "An engine opened as a model", OnnxModel::open("double.engine"));
    mistake!(
        page,
        "An engine of another backend",
        InferenceModule::open(
            "double.engine",
            &OptimizeOptions::new().require(BackendKind::TensorRtRtx)
        )
    );
    let bytes = fs::read("double.engine").unwrap();
    fs::write("cut.engine", &bytes[..bytes.len() - 7]).unwrap();
    mistake!(page, "An engine that was not copied to its end", Engine::open("cut.engine"));
    mistake!(page, "A folder that is not there", fast.engine().save("out/double.engine"));
    page.finish();
}

#[test]
fn graphs_and_programs() {
    let mut page = Section::new("Graphs by hand, precision and serving");
    let tract = || OptimizeOptions::new().require(BackendKind::Tract);

    let graph = GraphBuilder::new("net");
    let x = graph.input("x", DType::F32, [2, 3]).unwrap();
    let w = graph.weight("w", ndarray::Array2::<f32>::zeros((4, 5))).unwrap();
    mistake!(page, "A weight that does not fit", x.linear(&w, None));
    mistake!(page, "A shape of another number of elements", x.reshape(&[Some(Dim::from(4)), None]));
    mistake!(page, "A name that is taken", graph.input("x", DType::F32, [2, 3]));
    mistake!(page, "A graph without outputs", GraphBuilder::new("net").finish());
    mistake!(page, "A symbol without a name", Dim::dynamic("", 1..=8));
    mistake!(
        page,
        "A size to tune for beyond the range",
        Dim::dynamic("n", 1..=8).unwrap().tuned_for([9])
    );

    let model = product().unwrap();
    let int8 = tract().precision(Precision::Int8);
    mistake!(page, "8 bits without ranges, in Rust", InferenceModule::compile(&model, &int8));
    let keep = tract().precision(PrecisionOptions::new(Precision::Fp16).keep(["head*"]));
    mistake!(page, "A layer that the model does not have", InferenceModule::compile(&model, &keep));
    let registry = Registry::default();
    let calibration = Calibration::new(Method::Entropy);
    mistake!(page, "A calibration without samples", calibration.run(&model, &registry, vec![]));
    let calibration = Calibration::new(Method::Percentile(99.9));
    mistake!(page, "A percentile of a hundred", calibration.run(&model, &registry, vec![]));
    let none = OptimizeOptions::new().registry(Registry::empty());
    mistake!(page, "A registry without backends", InferenceModule::compile(&model, &none));

    let fixed = InferenceModule::compile(&model, &tract()).unwrap();
    mistake!(
        page,
        "A batcher before a model of one size",
        Batcher::new(fixed, &BatcherOptions::new())
    );
    let open = double().unwrap().bind("rows", 1..=8).unwrap();
    let open = InferenceModule::compile(&open, &tract()).unwrap();
    let pipeline = Pipeline::new(open.clone());
    mistake!(page, "An item of another size", pipeline.run(&[zeros(&[4])]));
    mistake!(page, "An item with an axis for the batch", pipeline.run(&[zeros(&[1, 3])]));
    let batcher = Batcher::new(open, &BatcherOptions::new()).unwrap();
    mistake!(page, "A request without an axis for the batch", batcher.submit(&[zeros(&[3])]));
    page.finish();
}

/// The process is in a folder for a while. No other test of this program asks for files by a relative path.
struct Here(std::path::PathBuf);

impl Here {
    fn enter(folder: &std::path::Path) -> Self {
        let before = std::env::current_dir().unwrap();
        std::env::set_current_dir(folder).unwrap();
        Self(before)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = std::env::set_current_dir(&self.0);
    }
}
