//! `accelerant compare`: backends with each other, or with outputs that are stored.

use std::path::PathBuf;

use accelerant::export::OnnxModel;
use accelerant::verify::{Difference, Tolerance, Verification, VerifyOptions};
use accelerant::{HostTensor, InferenceModule};
use serde_json::{Value, json};

use super::Output;
use crate::fail::{Code, Failure, Result};
use crate::inputs::Inputs;
use crate::options::{Name, Options};
use crate::shapes::Shapes;
use crate::source::Source;
use crate::{Globals, apart, bar::Bar, npy, terminal};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model
    pub(crate) model: PathBuf,
    /// The backends; the first is what the others are compared with. With --expected, by default the first that works
    #[arg(long, alias = "backend", value_delimiter = ',', required_unless_present = "expected")]
    backends: Vec<Name>,
    /// Outputs to compare all backends with, in a .npz file, by their names
    #[arg(long, value_name = "FILE")]
    pub(crate) expected: Option<PathBuf>,
    /// How far a value may be off, in any case and as a part of the value expected; by default what is usual for its type
    #[arg(long, value_name = "X")]
    tolerance: Option<f64>,
    /// Compare the values between layers too, and name the first that is off
    #[arg(long, conflicts_with = "expected")]
    layers: bool,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) shapes: Shapes,
    #[command(flatten)]
    options: Options,
}

/// What one backend came to.
enum Row {
    Compared { text: String, json: Value, passed: bool },
    Failed(Failure),
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<Output> {
    if let Some(tolerance) = args.tolerance.filter(|x| !x.is_finite() || *x < 0.0) {
        return Err(Failure::usage(format!("--tolerance {tolerance} is no distance")));
    }
    let bar = Bar::new(globals.quiet);
    bar.say("read the model");
    let Source::Model(model) = Source::open(&args.model)? else {
        let text = format!("{} is an engine; compare takes an ONNX model", args.model.display());
        return Err(Failure::usage(text));
    };
    let model = args.shapes.bind(*model)?;
    let inputs = args.inputs.read(model.signature(), &args.shapes.sizes(model.signature())?)?;
    if !inputs.is_empty() && inputs.iter().all(HostTensor::is_empty) {
        return Err(Failure::usage("the inputs have no values, and nothing would be compared"));
    }
    let stored = args.expected.as_deref().map(|path| {
        apart::work(&format!("read {}", path.display()), false);
        npy::read_all(path)
    });
    let expected = stored.transpose()?;
    let backends = match &*args.backends {
        [] => vec![first_that_works(args)?],
        named => named.to_vec(),
    };
    let (reference, compared) = match (&expected, &*backends) {
        (None, [first, rest @ ..]) if !rest.is_empty() => (Some(*first), rest),
        // One alone is compared with another that the library chooses.
        (_, all) => (None, all),
    };
    let mut rows = Vec::new();
    for name in compared {
        let row = match &expected {
            Some(expected) => against_stored(args, &model, *name, &inputs, expected, &bar),
            None => against_backend(args, &model, *name, reference, &inputs, &bar),
        };
        rows.push((name, row.unwrap_or_else(Row::Failed)));
    }
    drop(bar);
    Ok(output(rows))
}

/// The backend that runs a model whose user names none.
fn first_that_works(args: &Args) -> Result<Name> {
    let registry = args.options.device.registry();
    let mut works = registry.backends().iter().filter(|backend| backend.probe().is_ok());
    works.find_map(|backend| Name::of(&backend.kind())).ok_or_else(|| {
        Failure::with_code(Code::NoBackend, "no backend can run anything on this machine")
    })
}

fn output(rows: Vec<(&Name, Row)>) -> Output {
    let (mut text, mut json, mut failure) = (String::new(), Vec::new(), None);
    let mut differs = Vec::new();
    for (name, row) in rows {
        let kind = accelerant::BackendKind::from(*name);
        match row {
            Row::Compared { text: told, json: mut row, passed } => {
                let verdict = if passed { "same" } else { "DIFFERS" };
                text += &format!("{kind}: {verdict}\n");
                text += &told.lines().map(|line| format!("  {line}\n")).collect::<String>();
                row["backend"] = json!(kind);
                row["passed"] = json!(passed);
                json.push(row);
                if !passed {
                    differs.push(kind.to_string());
                }
            }
            Row::Failed(reason) => {
                text += &format!("{kind}: not compared\n  {reason}\n");
                let mut row = reason.json();
                row["backend"] = json!(kind);
                row["passed"] = json!(false);
                json.push(row);
                failure.get_or_insert_with(|| {
                    Failure::with_code(reason.code, format!("{kind} was not compared: {reason}"))
                });
            }
        }
    }
    if !differs.is_empty() {
        let text = format!("an output is beyond its tolerance on {}", differs.join(", "));
        failure = Some(Failure::with_code(Code::Failed, text));
    }
    Output { text, json: json!({ "passed": failure.is_none(), "backends": json }), failure }
}

fn module(args: &Args, model: &OnnxModel, name: Name, bar: &Bar) -> Result<InferenceModule> {
    let options = args.options.options(args.options.device.registry(), Some(name))?;
    Ok(InferenceModule::compile(model, &bar.follow(options))?)
}

fn against_backend(
    args: &Args,
    model: &OnnxModel,
    name: Name,
    reference: Option<Name>,
    inputs: &[HostTensor],
    bar: &Bar,
) -> Result<Row> {
    let module = module(args, model, name, bar)?;
    bar.runs("compare");
    let mut options = VerifyOptions::new().layer_by_layer(args.layers);
    let registry = args.options.device.registry();
    options = options.reference(match reference {
        Some(reference) => registry.require(reference.into()),
        None => registry,
    });
    if let Some(tolerance) = args.tolerance {
        options = options.tolerance(tolerance, tolerance);
    }
    let found: Verification = module.verify_against(model, &[inputs.to_vec()], &options)?;
    let json = serde_json::to_value(&found).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(Row::Compared { text: found.to_string(), json, passed: found.passed() })
}

fn against_stored(
    args: &Args,
    model: &OnnxModel,
    name: Name,
    inputs: &[HostTensor],
    expected: &[(String, HostTensor)],
    bar: &Bar,
) -> Result<Row> {
    let module = module(args, model, name, bar)?;
    let specs = &module.signature().outputs;
    let names = || specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some((odd, _)) = expected.iter().find(|(name, _)| specs.iter().all(|s| s.name != *name))
    {
        let text = format!("--expected: no output is called `{odd}`; there are: {}", names());
        return Err(Failure::usage(text));
    }
    if expected.is_empty() {
        return Err(Failure::usage(format!("--expected: the file has none of {}", names())));
    }
    let outputs = module.run(inputs)?;
    let (mut text, mut json, mut passed) = (String::new(), Vec::new(), true);
    for (spec, got) in specs.iter().zip(&outputs) {
        let Some((name, expected)) = expected.iter().find(|(name, _)| *name == spec.name) else {
            text += &format!("output `{}`: not stored\n", terminal::name(&spec.name));
            continue;
        };
        let tolerance = args.tolerance.map(|x| Tolerance { absolute: x, relative: x });
        let tolerance = tolerance.unwrap_or_else(|| Tolerance::of(got.dtype()));
        let difference = Difference::between(got, expected, tolerance);
        let difference = difference.map_err(|e| e.in_operation("compare").on_tensor(name))?;
        passed &= difference.is_within();
        text += &format!("output `{}`: {difference}\n", terminal::name(name));
        json.push(json!({ "name": name, "difference": difference }));
    }
    let json = json!({ "reference": args.expected, "samples": 1, "outputs": json });
    Ok(Row::Compared { text, json, passed })
}
