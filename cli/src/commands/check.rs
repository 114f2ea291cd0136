//! `accelerant check`: all that backends refuse of a model, at once.

use std::{path::PathBuf, sync::Arc};

use accelerant::Error;
use accelerant::backend::Backend;
use accelerant::export::OnnxModel;
use serde_json::{Value, json};

use super::Output;
use crate::apart;
use crate::fail::{Code, Failure, Result};
use crate::options::{Device, Name};
use crate::shapes::Shapes;
use crate::source::Source;
use crate::terminal;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model
    pub(crate) model: PathBuf,
    /// The backends; by default all that are compiled in
    #[arg(long, alias = "backends", value_delimiter = ',')]
    backend: Vec<Name>,
    #[command(flatten)]
    shapes: Shapes,
}

/// What a backend says.
enum Verdict {
    Takes,
    Refuses(Vec<Refusal>),
    /// It cannot be asked here.
    Absent(Error),
}

struct Refusal {
    /// Name and operator of the node, if it is one.
    node: Option<(String, String)>,
    reason: Error,
}

pub(crate) fn run(args: &Args) -> Result<Output> {
    apart::work("read the model", false);
    let Source::Model(model) = Source::open(&args.model)? else {
        let text = format!("{} is an engine; check takes an ONNX model", args.model.display());
        return Err(Failure::usage(text));
    };
    let model = args.shapes.bind(*model)?;
    let registry = Device::default().registry();
    let backends: Vec<Arc<dyn Backend>> = match &*args.backend {
        [] => registry.backends().to_vec(),
        names => {
            let get = |name: &Name| registry.get(&(*name).into()).cloned();
            names.iter().map(get).collect::<Result<_, _>>()?
        }
    };
    let (mut text, mut rows) = (String::new(), Vec::new());
    let (mut refused, mut absent, mut asked) = (Vec::new(), Vec::new(), 0);
    for backend in &backends {
        let kind = backend.kind();
        let mut row = json!({ "backend": kind, "description": backend.description() });
        apart::work(&format!("{kind} checks the model"), true);
        match verdict(backend.as_ref(), &model) {
            Verdict::Takes => {
                asked += 1;
                text += &format!("{kind}: takes the model\n");
                row["verdict"] = json!("takes");
            }
            Verdict::Refuses(found) => {
                asked += 1;
                let s = if found.len() == 1 { "" } else { "s" };
                text += &format!("{kind}: REFUSES the model, {} reason{s}\n", found.len());
                for Refusal { node, reason } in &found {
                    let named = node.as_ref().filter(|(name, _)| !name.is_empty());
                    let place = named.map(|(name, operator)| {
                        format!("{} `{}`: ", terminal::name(operator), terminal::name(name))
                    });
                    text += &format!("  {}{reason}\n", place.unwrap_or_default());
                }
                row["verdict"] = json!("refuses");
                row["refusals"] = found.iter().map(refusal).collect();
                refused.push(kind.to_string());
            }
            Verdict::Absent(reason) => {
                text += &format!("{kind}: cannot be asked\n  {reason}\n");
                row["verdict"] = json!("absent");
                row["reason"] = json!(reason.to_string());
                absent.push(kind.to_string());
            }
        }
        rows.push(row);
    }
    let failure = match (&*refused, &*absent) {
        ([_, ..], _) => {
            let text = format!("the model is refused by {}", refused.join(", "));
            Some(Failure::with_code(Code::Refused, text))
        }
        // One that was not named may be missing, as long as there is another.
        ([], [_, ..]) if asked == 0 || !args.backend.is_empty() => {
            let text = format!("{} cannot be asked here", absent.join(", "));
            Some(Failure::with_code(Code::NoBackend, text))
        }
        _ => None,
    };
    let json = json!({ "passed": failure.is_none(), "backends": rows });
    Ok(Output { text, json, failure })
}

fn verdict(backend: &dyn Backend, model: &OnnxModel) -> Verdict {
    let whole = |reason: Error| match Code::of(reason.kind()) {
        Code::NoBackend => Verdict::Absent(reason),
        _ => Verdict::Refuses(vec![Refusal { node: None, reason }]),
    };
    let model = match model.for_target(backend.target()) {
        Ok(model) => model,
        Err(reason) => return whole(reason),
    };
    match backend.check(&model) {
        Ok(Some(found)) if !found.is_empty() => {
            let nodes = model.proto().graph.as_ref().map_or(&[][..], |graph| &graph.node);
            let refusals = found.into_iter().map(|found| {
                let node = found.node.and_then(|i| nodes.get(i));
                let node = node.map(|node| (node.name().to_owned(), node.op_type().to_owned()));
                Refusal { node, reason: found.reason }
            });
            Verdict::Refuses(refusals.collect())
        }
        Ok(Some(_)) => Verdict::Takes,
        // It says so only when it builds.
        Ok(None) => match backend.build_and_load(&model) {
            Ok(_) => Verdict::Takes,
            Err(reason) => whole(reason),
        },
        Err(reason) => whole(reason),
    }
}

fn refusal(refusal: &Refusal) -> Value {
    let (name, operator) = refusal.node.clone().unzip();
    json!({ "node": name, "operator": operator, "reason": refusal.reason.to_string() })
}
