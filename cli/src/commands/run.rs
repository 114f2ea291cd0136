//! `accelerant run`: one run, with its outputs shown or written.

use std::{path::PathBuf, time::Instant};

use accelerant::HostTensor;
use serde_json::{Value, json};

use super::Output;
use crate::fail::Result;
use crate::inputs::Inputs;
use crate::options::{Name, Options};
use crate::shapes::Shapes;
use crate::{Globals, apart, bar::Bar, describe, files, npy, source, terminal};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model, or an engine that `accelerant build` wrote; trust an engine as a program
    pub(crate) model: PathBuf,
    /// The backend; by default the first that can run it here
    #[arg(long)]
    backend: Option<Name>,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Write the outputs to a .npz file; a single one may be a .npy file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shapes: Shapes,
    #[command(flatten)]
    options: Options,
}

/// How many values of an output are shown.
const SHOWN: usize = 8;

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<Output> {
    if let Some(path) = &args.output {
        npy::expect_name(path)?;
        files::expect_place(path)?;
    }
    let bar = Bar::new(globals.quiet);
    let module = source::module(&args.model, &args.shapes, &args.options, args.backend, 1, &bar)?;
    args.options.device.say_unused(&module.backend());
    let inputs = args.inputs.read(module.signature(), &args.shapes.sizes(module.signature())?)?;
    bar.runs("run");
    let start = Instant::now();
    let outputs = module.run(&inputs)?;
    let took = start.elapsed().as_secs_f64();
    drop(bar);
    let specs = &module.signature().outputs;
    let named = || specs.iter().map(|spec| spec.name.as_str()).zip(&outputs);
    let mut text = describe::backend(&module);
    if args.inputs.is_random() && !inputs.is_empty() {
        text += &format!("inputs    random, of seed {}\n", args.inputs.seed());
    }
    text += &format!("run       {:.3} ms\n", took * 1e3);
    for (name, tensor) in named() {
        text += &format!(
            "output    {}: {} {:?} {}\n",
            terminal::name(name),
            tensor.dtype(),
            tensor.shape(),
            shown(tensor)
        );
    }
    if let Some(path) = &args.output {
        apart::work(&format!("write {}", path.display()), false);
        npy::write(path, named().collect::<Vec<_>>().into_iter())?;
        text += &format!("written   {}\n", path.display());
    }
    let json = json!({
        "backend": module.backend(),
        "description": module.description(),
        "seconds": took,
        "outputs": named().map(|(name, tensor)| summary(name, tensor)).collect::<Vec<_>>(),
        "written": args.output,
        "report": module.report(),
    });
    Ok(Output::new(text, json))
}

/// The first values.
fn shown(tensor: &HostTensor) -> String {
    let values = describe::numbers(tensor);
    let first: Vec<_> = values.iter().take(SHOWN).map(|&x| short(x)).collect();
    let more = if values.len() > SHOWN { ", …" } else { "" };
    format!("= {}{more}", first.join(", "))
}

/// Without zeros behind the point. What six places would show as 0 has an exponent.
fn short(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-3 {
        return format!("{x:.3e}");
    }
    let number = format!("{x:.6}");
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number,
    }
}

fn summary(name: &str, tensor: &HostTensor) -> Value {
    let values = describe::numbers(tensor);
    let finite = || values.iter().copied().filter(|x| x.is_finite());
    json!({
        "name": name,
        "dtype": tensor.dtype().to_string(),
        "shape": tensor.shape(),
        "min": finite().reduce(f64::min),
        "max": finite().reduce(f64::max),
        "notFinite": values.iter().filter(|x| !x.is_finite()).count(),
        "first": values.iter().take(SHOWN).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_small_number_is_not_shown_as_zero() {
        let numbers =
            [0.0, 1.0, 100.0, -2.5, 0.123_456_789, 3.25e-5, -1e-30, f64::NAN, f64::INFINITY];
        let shown = ["0", "1", "100", "-2.5", "0.123457", "3.250e-5", "-1.000e-30", "NaN", "inf"];
        assert_eq!(numbers.map(short), shown);
    }
}
