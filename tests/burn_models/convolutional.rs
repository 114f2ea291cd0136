//! Networks for images.

use accelerant::OptimizeOptions;
use accelerant::burn::BurnGraph;
use accelerant::export::Target;
use models::resnet::ResNet;

use crate::{
    compare, compare_both, count, device, export, initializers, input, models, randomized,
};

#[test]
fn resnet_18() {
    let model = randomized(ResNet::new_18(10, &device()));
    compare_both("ResNet-18", &model, |m, x| m.forward(x), [2, 3, 64, 64]);
}

#[test]
fn resnet_50() {
    let model = randomized(ResNet::new_50(1000, &device()));
    compare_both("ResNet-50", &model, |m, x| m.forward(x), [2, 3, 64, 64]);
    let images = [input([1, 3, 224, 224], 5)];
    compare("ResNet-50 at 224", &model, |m, x| m.forward(x), &OptimizeOptions::new(), &images);

    let onnx = export(&model, &images[0], |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "Conv"), 53, "{onnx}");
    assert_eq!(count(&onnx, "BatchNormalization"), 53, "{onnx}");
    assert_eq!(count(&onnx, "Transpose"), 0, "{onnx}");
    let names = initializers(&onnx);
    for name in ["stem.conv.weight", "layers.3.2.convs.1.norm.gamma", "fc.bias"] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }

    // The stem is over squares, four shortcuts are in the convolutions that they are added to, and of the
    // second stage 4, of the third 6 + 5, and of the last 3 + 3 convolutions are in groups.
    let forms = Target::tensorrt().for_compute_capability(Some(90));
    let forward = |m: &ResNet, x| m.forward(x);
    let graph = BurnGraph::capture(&model, &images[0], forward, &OptimizeOptions::new());
    let onnx = graph.expect("it is captured").to_onnx(forms).expect("it is exported");
    let operators = ["Conv", "BatchNormalization", "Transpose", "Concat", "ReduceSum"];
    assert_eq!(operators.map(|operator| count(&onnx, operator)), [49, 45, 1, 4, 21], "{onnx}");
}

#[test]
fn mobilenet_v2() {
    let model = randomized(models::mobilenet::MobileNetV2::new(100, &device()));
    compare_both("MobileNetV2", &model, |m, x| m.forward(x), [2, 3, 64, 64]);
    let onnx =
        export(&model, &input([1, 3, 64, 64], 1), |m, x| m.forward(x), &OptimizeOptions::new());
    // The stem, the last, and two or three in each of the 17 blocks: a depthwise one is no bundle of
    // small ones.
    assert_eq!(count(&onnx, "Conv"), 1 + 1 + 16 * 3 + 2, "{onnx}");
    assert_eq!(count(&onnx, "Clip"), 1 + 1 + 16 * 2 + 1, "{onnx}");
}

#[test]
fn unet() {
    let model = randomized(models::unet::UNet::new(16, 3, 2, &device()));
    compare_both("U-Net", &model, |m, x| m.forward(x), [2, 3, 32, 48]);
    let original = models::unet::UNet::new(64, 4, 2, &device());
    let image = input([1, 3, 64, 64], 1);
    let onnx = export(&original, &image, |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!((count(&onnx, "Conv"), count(&onnx, "ConvTranspose")), (19, 4), "{onnx}");
}

#[test]
fn convnext() {
    let model = randomized(models::convnext::ConvNextStage::new(32, 64, 2, &device()));
    compare_both("ConvNeXt", &model, |m, x| m.forward(x), [2, 32, 16, 20]);
    let onnx =
        export(&model, &input([1, 32, 16, 20], 1), |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "Conv"), 3, "{onnx}");
    assert_eq!(count(&onnx, "LayerNormalization"), 3, "{onnx}");
}

#[test]
fn detection_head() {
    let model = randomized(models::detection::DetectionHead::new(32, 5, 10, &device()));
    compare_both("detection head", &model, |m, x| m.forward(x), [2, 32, 12, 16]);
    let onnx =
        export(&model, &input([1, 32, 12, 16], 1), |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "TopK"), 1, "{onnx}");
}
