//! The benches' models in Burn.

use accelerant::burn::{BurnGraph, BurnTensors};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use crate::entry::Entry;
use crate::models::bert::{BASE, Bert, MINILM};
use crate::models::digits::Digits;
use crate::models::resnet::ResNet;
use crate::models::vit::VisionTransformer;
use crate::models::weights::randomized;
use crate::{BATCH, Model};

pub(crate) fn entries() -> Vec<Entry> {
    let device = Device::flex();
    let images = |channels, size| Tensor::<4>::zeros([BATCH, channels, size, size], &device);
    let tokens = || Tensor::<2, Int>::zeros([BATCH, 128], &device);
    let mut all = Vec::new();
    for model in Model::ALL {
        all.extend(match model {
            Model::Digits => of(model, Digits::new(&device), images(1, 8), Digits::forward),
            Model::ResNet50 => {
                let net = ResNet::new_50(1000, &device);
                of(model, net, images(3, 224), ResNet::forward)
            }
            Model::VitB16 => {
                let net = VisionTransformer::base_16(224, 1000, &device);
                of(model, net, images(3, 224), VisionTransformer::forward)
            }
            Model::BertBase | Model::MiniLm => {
                let sizes = if model == Model::BertBase { BASE } else { MINILM };
                let net = Bert::new(sizes, &device);
                let forward = |net: &Bert, (tokens, mask)| net.forward(tokens, mask);
                of(model, net, (tokens(), tokens()), forward)
            }
        });
    }
    all
}

fn of<M: Module, I: BurnTensors, O: BurnTensors>(
    model: Model,
    net: M,
    example: I,
    forward: impl Fn(&M, I) -> O,
) -> Vec<Entry> {
    let net = randomized(net);
    let mut all = Vec::new();
    for (batch, options) in model.batches() {
        let name = format!("burn, {}, f32, {batch}", model.name());
        let graph = BurnGraph::capture(&net, &example, &forward, &options);
        let graph = graph.unwrap_or_else(|e| panic!("{name}: {e}"));
        all.extend(crate::entries(&name, |target| graph.to_onnx(target)));
    }
    all
}
