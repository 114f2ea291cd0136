//! The benches' models in Candle.

use accelerant::candle::Trace;
use candle_core::{Device, Tensor};

use crate::entry::Entry;
use crate::nets::{Net, Weights};
use crate::{BATCH, Model, Precision};

pub(crate) fn entries() -> Vec<Entry> {
    let mut all = Vec::new();
    for (precision, dtype) in [(Precision::F32, "f32"), (Precision::F16, "f16")] {
        for model in Model::ALL {
            let weights = Weights::new(precision, &Device::Cpu);
            let net = Net::new(model, &weights).expect("a network");
            let inputs = net.inputs(&weights, BATCH).expect("inputs");
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            for (batch, options) in model.batches() {
                let name = format!("candle, {}, {dtype}, {batch}", model.name());
                let trace = Trace::of_fn(inputs.as_slice(), &options, |inputs| {
                    Ok(vec![net.forward(inputs)?])
                });
                let trace = trace.unwrap_or_else(|e| panic!("{name}: {e}"));
                all.extend(crate::entries(&name, |target| trace.to_onnx(target)));
            }
        }
    }
    all
}
