//! `accelerant inspect`: what is in a model or an engine. Nothing is built and nothing is run.

use std::{collections::BTreeMap, path::PathBuf};

use accelerant::Engine;
use accelerant::export::OnnxModel;
use serde_json::{Value, json};

use super::Output;
use crate::describe;
use crate::fail::{Failure, Result, io};
use crate::shapes::unbound;
use crate::source::Source;
use crate::terminal;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model, or an engine that `accelerant build` wrote
    pub(crate) file: PathBuf,
    /// Print each node of the model
    #[arg(long)]
    nodes: bool,
    /// Print what TensorRT tells of the engine's layers, which takes its GPU; trust an engine as a program
    #[arg(long)]
    layers: bool,
}

pub(crate) fn run(args: &Args) -> Result<Output> {
    let size = std::fs::metadata(&args.file).map_err(|e| io("read", &args.file, e))?.len();
    match Source::open(&args.file)? {
        Source::Model(_) if args.layers => {
            Err(Failure::usage("--layers is for an engine; --nodes prints the nodes of a model"))
        }
        Source::Engine(_) if args.nodes => {
            Err(Failure::usage("--nodes is for a model; --layers prints the layers of an engine"))
        }
        Source::Model(found) => Ok(model(&found, size, args)),
        Source::Engine(found) => engine(&found, size, args),
    }
}

fn model(model: &OnnxModel, size: u64, args: &Args) -> Output {
    let proto = model.proto();
    let graph = proto.graph.as_ref();
    let mut operators: BTreeMap<String, usize> = BTreeMap::new();
    for node in graph.iter().flat_map(|graph| &graph.node) {
        let domain = node.domain.as_deref().filter(|domain| !matches!(*domain, "" | "ai.onnx"));
        let name = match domain {
            Some(domain) => format!("{domain}::{}", node.op_type()),
            None => node.op_type().to_owned(),
        };
        *operators.entry(name).or_default() += 1;
    }
    let weights = graph.map_or(&[][..], |graph| &graph.initializer);
    let size_of = |dims: &[i64]| dims.iter().map(|&size| size.max(0) as u64).product::<u64>();
    let parameters: u64 = weights.iter().map(|weight| size_of(&weight.dims)).sum();
    let raw = weights.iter().filter_map(|weight| weight.raw_data.as_ref());
    let weights: u64 = raw.map(|data| data.len() as u64).sum();
    let opsets: Vec<_> = proto
        .opset_import
        .iter()
        .map(|set| {
            let domain = set.domain.as_deref().filter(|domain| !domain.is_empty());
            (domain.unwrap_or("ai.onnx").to_owned(), set.version.unwrap_or_default())
        })
        .collect();
    let nodes = graph.map_or(0, |graph| graph.node.len());
    let name = graph.and_then(|graph| graph.name.as_deref()).unwrap_or_default();
    let producer = [&proto.producer_name, &proto.producer_version];
    let producer: Vec<_> = producer.into_iter().flatten().map(String::as_str).collect();
    let producer = producer.join(" ").trim().to_owned();

    let mut text = format!("model     {}, {}\n", terminal::name(name), describe::bytes(size));
    if !producer.is_empty() {
        text += &format!("written   by {}\n", terminal::name(&producer));
    }
    let sets: Vec<_> = opsets
        .iter()
        .map(|(domain, version)| format!("{} {version}", terminal::name(domain)))
        .collect();
    text += &format!("operators {} nodes, operator set {}\n", nodes, sets.join(", "));
    let mut counts: Vec<_> = operators.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (operator, count) in counts {
        text += &format!("  {count:>6}  {}\n", terminal::name(operator));
    }
    text += &format!("weights   {parameters} values, {}\n", describe::bytes(weights));
    text += "signature\n";
    text += &describe::lines(model.signature());
    let symbols = unbound(model.signature());
    if let [first, ..] = &*symbols {
        let all = symbols.join("`, `");
        text += &format!("sizes     `{all}` may be any; --shape {first}=1:8:32 states one\n");
    }
    if args.nodes {
        text += &format!("\n{model}");
    }
    let json = json!({
        "kind": "model",
        "name": name,
        "bytes": size,
        "producer": producer,
        "irVersion": proto.ir_version,
        "opsets": opsets.into_iter().map(|(domain, version)| (domain, json!(version))).collect::<serde_json::Map<_, _>>(),
        "nodes": nodes,
        "operators": operators,
        "weights": { "values": parameters, "bytes": weights },
        "signature": describe::signature(model.signature()),
        "unbound": symbols,
    });
    Output::new(text, json)
}

fn engine(engine: &Engine, size: u64, args: &Args) -> Result<Output> {
    let seconds = engine.build_time().as_secs_f64();
    let kind = engine.kind().to_string();
    let [kind, library, target] = [&kind, engine.library(), engine.target()].map(terminal::name);
    let mut text = format!("engine    of {kind} {library}\n");
    text += &format!("built     for {target}, in {seconds:.3} s\n");
    let plan = engine.plan().len() as u64;
    text += &format!("size      {}, the plan {}\n", describe::bytes(size), describe::bytes(plan));
    if !engine.profile_names().is_empty() {
        let names = engine.profile_names().join(", ");
        text += &format!("profiles  {}\n", terminal::name(&names));
    }
    if !engine.is_built() {
        text += "trust     nobody says that a backend built this plan: TensorRT does not load it\n";
    }
    text += "signature\n";
    text += &describe::lines(engine.signature());
    let layers = if args.layers { layers(engine)? } else { Value::Null };
    if args.layers {
        text += &format!("{layers:#}\n");
    }
    let json = json!({
        "kind": "engine",
        "backend": engine.kind(),
        "library": engine.library(),
        "target": engine.target(),
        "buildSeconds": seconds,
        "bytes": size,
        "planBytes": plan,
        "profiles": engine.profile_names(),
        "built": engine.is_built(),
        "signature": describe::signature(engine.signature()),
        "layers": layers,
    });
    Ok(Output::new(text, json))
}

#[cfg(feature = "_tensorrt")]
fn layers(engine: &Engine) -> Result<Value> {
    use accelerant::BackendKind;
    use accelerant::backend::tensorrt::TensorRt;

    let tensorrt = match engine.kind() {
        BackendKind::TensorRtRtx => TensorRt::rtx(),
        BackendKind::TensorRt => TensorRt::enterprise(),
        other => {
            return Err(Failure::usage(format!("{other} tells nothing of layers")));
        }
    };
    let told = tensorrt.layer_information(engine)?;
    Ok(serde_json::from_str(&told).unwrap_or(Value::String(told)))
}

#[cfg(not(feature = "_tensorrt"))]
fn layers(engine: &Engine) -> Result<Value> {
    let text = format!("{} tells nothing of layers to this command", engine.kind());
    Err(Failure::usage(text))
}
