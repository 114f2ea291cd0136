//! Networks for pictures.

use accelerant::OptimizeOptions;
use candle_core::{Module, Tensor};
use candle_transformers::models as reference;

use crate::harness::{agree, exported, pictures, tensor, weights};
use crate::models::convnext::ConvNext;
use crate::models::dinov2::{self, DinoV2};
use crate::models::mobilenet::{self, MobileNet, attention, bottleneck, conv, edge};
use crate::models::resnet::ResNet;
use crate::models::vit::{self, Vit};

#[test]
fn resnets_agree_with_candle_transformers() {
    let net = |layers| ResNet::new(layers, 10, weights()).unwrap();
    pictures("ResNet-18", &net(18), &reference::resnet::resnet18(10, weights()).unwrap(), 64);
    pictures("ResNet-50", &net(50), &reference::resnet::resnet50(10, weights()).unwrap(), 64);
    assert!(ResNet::new(51, 10, weights()).is_err());
    // The others differ in the number of blocks.
    let x = tensor(&[1, 3, 40, 40], 1);
    for (layers, theirs) in [
        (34, reference::resnet::resnet34(10, weights()).unwrap()),
        (101, reference::resnet::resnet101(10, weights()).unwrap()),
        (152, reference::resnet::resnet152(10, weights()).unwrap()),
    ] {
        let ours = net(layers);
        let (got, expected) = (ours.forward(&x).unwrap(), theirs.forward(&x).unwrap());
        agree(&format!("ResNet-{layers}"), &got, &expected);
        let native = |inputs: &[Tensor]| vec![ours.forward(&inputs[0]).unwrap()];
        let name = format!("ResNet-{layers}");
        exported(&name, &ours, native, &OptimizeOptions::new(), &[vec![x.clone()]]);
    }
}

#[test]
fn resnet_50_at_full_size() {
    let net = ResNet::new(50, 1000, weights()).unwrap();
    let x = tensor(&[1, 3, 224, 224], 1);
    let native = |inputs: &[Tensor]| vec![net.forward(&inputs[0]).unwrap()];
    exported("ResNet-50 at 224", &net, native, &OptimizeOptions::new(), &[vec![x]]);
}

#[test]
fn convnext_agrees_with_candle_transformers() {
    let ours = ConvNext::new([3, 3, 9, 3], [96, 192, 384, 768], 10, weights()).unwrap();
    let theirs =
        reference::convnext::convnext(&reference::convnext::Config::tiny(), 10, weights()).unwrap();
    pictures("ConvNeXt-tiny", &ours, &theirs, 64);
}

#[test]
fn vit_agrees_with_candle_transformers() {
    let ours = Vit::new(&vit::Config::BASE, 10, weights()).unwrap();
    let config = reference::vit::Config::vit_base_patch16_224();
    let theirs = reference::vit::Model::new(&config, 10, weights()).unwrap();
    let theirs = candle_nn::Func::new(move |xs| theirs.forward(xs));
    let x = tensor(&[1, 3, 224, 224], 1);
    agree("ViT-B/16", &ours.forward(&x).unwrap(), &theirs.forward(&x).unwrap());
    let native = |inputs: &[Tensor]| vec![ours.forward(&inputs[0]).unwrap()];
    exported("ViT-B/16", &ours, native, &OptimizeOptions::new(), &[vec![x]]);

    let sizes =
        vit::Config { hidden: 64, layers: 2, heads: 4, intermediate: 96, image: 32, patch: 8 };
    let small = Vit::new(&sizes, 10, weights()).unwrap();
    let native = |inputs: &[Tensor]| vec![small.forward(&inputs[0]).unwrap()];
    let options = OptimizeOptions::new().dynamic_batch(1..=4);
    let inputs = [2, 1, 4].map(|batch| vec![tensor(&[batch, 3, 32, 32], batch as u64)]);
    exported("a small ViT, dynamic batch", &small, native, &options, &inputs);
}

/// A MobileNetV4 with all kinds of blocks.
const TINY: mobilenet::Config = mobilenet::Config {
    stem: 8,
    stages: [
        &[conv(8, 3, 2)],
        &[edge(16, 3, 2, 2)],
        &[bottleneck(16, [3, 5], 2, 2), bottleneck(16, [0, 3], 1, 2)],
        &[attention(16, 2, 2), attention(16, 2, 1)],
        &[bottleneck(24, [3, 0], 1, 2)],
    ],
};

#[test]
fn mobilenets_agree_with_candle_transformers() {
    use reference::mobilenetv4::{Config, mobilenetv4};
    let x = tensor(&[1, 3, 64, 64], 1);
    for (name, config, theirs) in [
        ("small", mobilenet::Config::SMALL, Config::small()),
        ("medium", mobilenet::Config::MEDIUM, Config::medium()),
        ("hybrid-medium", mobilenet::Config::HYBRID_MEDIUM, Config::hybrid_medium()),
    ] {
        let ours = MobileNet::new(&config, 10, weights()).unwrap();
        let theirs = mobilenetv4(&theirs, 10, weights()).unwrap();
        let place = format!("MobileNetV4-{name}");
        agree(&place, &ours.forward(&x).unwrap(), &theirs.forward(&x).unwrap());
        // Medium has no kind of block that the others have not.
        if name != "medium" {
            let native = |inputs: &[Tensor]| vec![ours.forward(&inputs[0]).unwrap()];
            exported(&place, &ours, native, &OptimizeOptions::new(), &[vec![x.clone()]]);
        }
    }
    let net = MobileNet::new(&TINY, 10, weights()).unwrap();
    let native = |inputs: &[Tensor]| vec![net.forward(&inputs[0]).unwrap()];
    let options = OptimizeOptions::new().dynamic_batch(1..=3);
    let inputs = [2, 1, 3].map(|batch| vec![tensor(&[batch, 3, 64, 64], batch as u64)]);
    exported("a small MobileNetV4, dynamic batch", &net, native, &options, &inputs);
}

#[test]
fn dinov2_agrees_with_candle_transformers() {
    let config = dinov2::Config { hidden: 48, layers: 2, heads: 4 };
    let ours = DinoV2::new(&config, 1000, weights()).unwrap();
    let (layers, hidden, heads) = (config.layers, config.hidden, config.heads);
    let theirs =
        reference::dinov2::DinoVisionTransformer::new(weights(), layers, hidden, heads).unwrap();
    // Positions as they were trained.
    let x = tensor(&[1, 3, 518, 518], 1);
    let expected = theirs.forward(&x).unwrap();
    agree("DINOv2 at 518", &ours.forward(&x).unwrap(), &expected);
    // And for a smaller picture.
    pictures("DINOv2", &ours, &theirs, 56);
}
