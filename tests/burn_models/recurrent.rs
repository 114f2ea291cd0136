//! Recurrent layers, with dynamic lengths.

use accelerant::burn::BurnGraph;
use accelerant::{ErrorKind, OptimizeOptions};
use burn::nn::{BiGru, BiGruConfig, Gru, GruConfig, Lstm, LstmConfig, LstmState};
use burn::tensor::Tensor;
use models::recurrent::{BiLstmTagger, GruClassifier, LstmClassifier};

use crate::transformers::dynamic_sequence;
use crate::{compare, compare_both, count, device, export, input, models, randomized};

#[test]
fn recurrent_classifiers() {
    let lstm = randomized(LstmClassifier::new(6, 10, 4, &device()));
    compare_both("LSTM", &lstm, |m, x| m.forward(x), [2, 5, 6]);
    let gru = randomized(GruClassifier::new(6, 10, 4, &device()));
    compare_both("GRU", &gru, |m, x| m.forward(x), [2, 5, 6]);
    let tagger = randomized(BiLstmTagger::new(6, 10, 4, &device()));
    compare_both("BiLSTM", &tagger, |m, x| m.forward(x), [2, 5, 6]);

    let options = dynamic_sequence(1, 20);
    let inputs = [input([2, 5, 6], 1), input([1, 2, 6], 2), input([4, 20, 6], 3)];
    compare("LSTM, dynamic length", &lstm, |m, x| m.forward(x), &options, &inputs);
    compare("GRU, dynamic length", &gru, |m, x| m.forward(x), &options, &inputs);
    compare("BiLSTM, dynamic length", &tagger, |m, x| m.forward(x), &options, &inputs);

    // One operator, whatever the length.
    let onnx = export(&lstm, &input([1, 50, 6], 1), |m, x| m.forward(x), &OptimizeOptions::new());
    assert_eq!(count(&onnx, "LSTM"), 1, "{onnx}");
    let nodes = onnx.proto().graph.as_ref().map_or(0, |graph| graph.node.len());
    assert!(nodes < 12, "{nodes} nodes\n{onnx}");
    let onnx = export(&gru, &input([1, 20, 6], 1), |m, x| m.forward(x), &options);
    assert_eq!(count(&onnx, "GRU"), 2, "{onnx}");
    let onnx = export(&tagger, &input([1, 20, 6], 1), |m, x| m.forward(x), &options);
    assert_eq!(count(&onnx, "LSTM"), 2, "{onnx}");
}

#[test]
fn recurrent_layers_in_all_their_forms() {
    let options = dynamic_sequence(1, 20);
    let inputs = [input([2, 5, 6], 1), input([1, 2, 6], 2), input([4, 20, 6], 3)];
    let plain = |m: &Lstm, x| {
        let (all, state) = m.forward(x, None);
        (all, state.hidden, state.cell)
    };
    for (name, config) in [
        ("LSTM without bias", LstmConfig::new(6, 7, false)),
        ("LSTM, reverse", LstmConfig::new(6, 7, true).with_reverse(true)),
    ] {
        let layer = randomized(config.init(&device()));
        compare(name, &layer, plain, &OptimizeOptions::new(), &inputs[..1]);
        compare(&format!("{name}, dynamic"), &layer, plain, &options, &inputs);
    }
    // States from outside, and time first.
    let config = LstmConfig::new(6, 7, true).with_batch_first(false);
    let layer = randomized(config.init(&device()));
    let continued = |m: &Lstm, (x, hidden, cell): (Tensor<3>, Tensor<2>, Tensor<2>)| {
        let (all, state) = m.forward(x, Some(LstmState::new(cell, hidden)));
        (all, state.hidden, state.cell)
    };
    let states = [(input([5, 2, 6], 1), input([2, 7], 2), input([2, 7], 3))];
    compare("LSTM, continued", &layer, continued, &OptimizeOptions::new(), &states);

    for (name, config) in [
        ("GRU without bias", GruConfig::new(6, 7, false)),
        ("GRU, reset before", GruConfig::new(6, 7, true).with_reset_after(false)),
        ("GRU, reset before, no bias", GruConfig::new(6, 7, false).with_reset_after(false)),
    ] {
        let layer = randomized(config.init(&device()));
        compare(name, &layer, |m: &Gru, x| m.forward(x, None), &options, &inputs);
    }
    let layer = randomized(BiGruConfig::new(6, 7, true).init(&device()));
    compare("BiGRU", &layer, |m: &BiGru, x| m.forward(x, None), &options, &inputs);
}

#[test]
fn a_loop_of_another_kind_is_refused_over_a_dynamic_length() {
    let options = dynamic_sequence(1, 20);
    for config in [
        LstmConfig::new(6, 7, true).with_clip(Some(1.0)),
        LstmConfig::new(6, 7, true).with_input_forget(true),
    ] {
        let layer = config.init(&device());
        let forward = |m: &Lstm, x: Tensor<3>| m.forward(x, None).0;
        let error = BurnGraph::capture(&layer, &input([2, 5, 6], 1), forward, &options);
        let error = error.expect_err("no operator computes this");
        assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
        assert!(error.to_string().contains("a loop runs as often as a dynamic size"), "{error}");
    }
}
