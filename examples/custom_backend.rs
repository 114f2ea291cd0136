//! A backend from outside the crate, against the two public traits alone: it runs small networks
//! on ndarray. Hardware of your own is added the same way.
//!
//! `cargo run --example custom_backend`

use std::collections::HashMap;
use std::time::Instant;

use accelerant::backend::{Backend, Executable};
use accelerant::export::{GraphBuilder, OnnxModel, Target, onnx::NodeProto};
use accelerant::{
    BackendKind, DType, Dim, Engine, Error, ErrorKind, HostTensor, InferenceModule,
    OptimizeOptions, Registry, Result, Signature,
};
use ndarray::{Array2, ArrayD, Ix2};

const KIND: BackendKind = BackendKind::Custom(std::borrow::Cow::Borrowed("ndarray"));
const VERSION: &str = "1";

#[derive(Debug)]
struct NdArray;

impl Backend for NdArray {
    fn kind(&self) -> BackendKind {
        KIND
    }

    fn description(&self) -> String {
        "ndarray on one core".to_owned()
    }

    fn target(&self) -> Target {
        Target::portable()
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        let start = Instant::now();
        let graph = model.proto().graph.iter();
        let unknown: Vec<_> = graph
            .flat_map(|graph| &graph.node)
            .map(NodeProto::op_type)
            .filter(|op| !knows(op))
            .collect();
        if !unknown.is_empty() {
            let text = format!("no kernel for {}", unknown.join(", "));
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation("build"));
        }
        let (signature, plan) = (model.signature().clone(), model.to_bytes());
        Ok(Engine::new(KIND, VERSION, "cpu", signature, start.elapsed(), plan))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        engine.expect(&KIND, VERSION)?;
        let model = OnnxModel::from_bytes(engine.plan().clone())?;
        let graph = model.proto().graph.clone().unwrap_or_default();
        let mut weights = HashMap::new();
        for tensor in &graph.initializer {
            let sizes: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
            let data = tensor.raw_data.clone().unwrap_or_default();
            let values = HostTensor::from_bytes(DType::F32, sizes, data)?.to_array()?;
            weights.insert(tensor.name().to_owned(), values);
        }
        Ok(Box::new(Network { nodes: graph.node, weights, signature: engine.signature().clone() }))
    }
}

#[derive(Debug)]
struct Network {
    nodes: Vec<NodeProto>,
    weights: HashMap<String, ArrayD<f32>>,
    signature: Signature,
}

impl Executable for Network {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        let mut values = self.weights.clone();
        for (spec, tensor) in self.signature.inputs.iter().zip(inputs) {
            values.insert(spec.name.clone(), tensor.to_array()?);
        }
        for node in &self.nodes {
            let inputs: Vec<&ArrayD<f32>> = node.input.iter().map(|name| &values[name]).collect();
            let output =
                kernel(node.op_type(), &inputs).map_err(|e| e.in_operation(node.name()))?;
            values.insert(node.output[0].clone(), output);
        }
        Ok(self.signature.outputs.iter().map(|spec| values[&spec.name].clone().into()).collect())
    }
}

fn knows(op: &str) -> bool {
    matches!(op, "Identity" | "Relu" | "Add" | "MatMul")
}

fn kernel(op: &str, inputs: &[&ArrayD<f32>]) -> Result<ArrayD<f32>> {
    let matrix = |array: &ArrayD<f32>| {
        let wrong = |e| Error::new(ErrorKind::ShapeMismatch, format!("{e}"));
        array.clone().into_dimensionality::<Ix2>().map_err(wrong)
    };
    Ok(match op {
        "Relu" => inputs[0].mapv(|value| value.max(0.0)),
        "Add" => inputs[0] + inputs[1],
        "MatMul" => matrix(inputs[0])?.dot(&matrix(inputs[1])?).into_dyn(),
        _ => inputs[0].clone(),
    })
}

fn main() -> Result<()> {
    let graph = GraphBuilder::new("network");
    let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=8)?, Dim::Fixed(3)])?;
    let weight = graph.weight("weight", Array2::<f32>::eye(3) * 2.0)?;
    let bias = graph.weight("bias", ndarray::array![-1.0f32, 0.0, 1.0])?;
    graph.output("y", &x.matmul(&weight)?.add(&bias)?.relu()?)?;
    let model = graph.finish()?;

    let options = OptimizeOptions::new().registry(Registry::empty().with(NdArray));
    let module = InferenceModule::compile(&model, &options)?;
    let y =
        module.run(&[HostTensor::from(ndarray::array![[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]])])?;
    println!("{} on {}: {:?}", module.signature(), module.description(), y[0].to_vec::<f32>()?);
    assert_eq!(y[0].to_vec::<f32>()?, [0.0, 2.0, 5.0, 5.0, 8.0, 11.0]);
    Ok(())
}
