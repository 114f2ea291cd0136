//! Models that are made in no time.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::generate::DecoderConfig;
use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions, Symbol};
use safetensors::tensor::TensorView;
use serde_json::json;

/// Types that models of tests have, of those with a name in the protocol.
pub(crate) const TYPES: [(&str, DType); 8] = [
    ("BOOL", DType::Bool),
    ("UINT8", DType::U8),
    ("INT32", DType::I32),
    ("INT64", DType::I64),
    ("FP16", DType::F16),
    ("BF16", DType::BF16),
    ("FP32", DType::F32),
    ("FP64", DType::F64),
];

fn save(model: OnnxModel, folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    model.save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `y = 2 x + 1` and `z = x + 1`, rows of 4, whose number has no bound in the file.
pub(crate) fn affine(folder: &Path) -> String {
    let graph = GraphBuilder::new("affine");
    let rows = Symbol::new("rows", 1, 1, Symbol::UNBOUNDED).unwrap();
    let x = graph.input("x", DType::F32, [Dim::Symbol(rows), Dim::from(4)]).unwrap();
    graph.output("y", &x.affine(2.0, 1.0).unwrap()).unwrap();
    graph.output("z", &x.affine(1.0, 1.0).unwrap()).unwrap();
    save(graph.finish().unwrap(), folder, "affine.onnx")
}

/// The values of a type as they came, two in each row.
pub(crate) fn identity(folder: &Path, name: &str, dtype: DType) -> String {
    let graph = GraphBuilder::new(name);
    let rows = Dim::dynamic("rows", 1..=8).unwrap();
    let x = graph.input("x", dtype, [rows, Dim::from(2)]).unwrap();
    graph.output("y", &x).unwrap();
    save(graph.finish().unwrap(), folder, &format!("{name}.onnx"))
}

/// Whether a backend of this machine runs a model.
pub(crate) fn runs(path: &str) -> bool {
    let model = OnnxModel::open(path).unwrap();
    InferenceModule::compile(&model, &OptimizeOptions::new()).is_ok()
}

/// How many numbers a request to [`wide`] gives: more than the system keeps of a connection.
pub(crate) const WIDE: usize = 8 << 20;

/// One number, many times.
pub(crate) fn wide(folder: &Path) -> String {
    let graph = GraphBuilder::new("wide");
    let x = graph.input("x", DType::F32, [1]).unwrap();
    graph.output("y", &x.expand(&[Dim::from(WIDE)], &[]).unwrap()).unwrap();
    save(graph.finish().unwrap(), folder, "wide.onnx")
}

/// `y = 3 x` over a length that may be 0, without rows to join, and a number beside it.
pub(crate) fn single(folder: &Path) -> String {
    let graph = GraphBuilder::new("single");
    let length = Dim::Symbol(Symbol::new("length", 0, 8, 64).unwrap());
    let x = graph.input("x", DType::F32, [Dim::from(2), length]).unwrap();
    let number = graph.input("number", DType::I64, Vec::<Dim>::new()).unwrap();
    graph.output("y", &x.affine(3.0, 0.0).unwrap()).unwrap();
    graph.output("same", &number).unwrap();
    save(graph.finish().unwrap(), folder, "single.onnx")
}

/// Printable ASCII and the end of a line: the characters that the language model writes, each a token.
fn alphabet() -> Vec<String> {
    // A tokenizer of bytes writes other characters for these two.
    let special = ["\u{120}", "\u{10A}"].map(str::to_owned);
    special.into_iter().chain(('!'..='~').map(String::from)).collect()
}

/// A language model of random weights in a folder, as checkpoints have it: a token a character.
pub(crate) fn language_model(folder: &Path) -> PathBuf {
    language(folder, "language", alphabet(), 4096)
}

/// The same, with texts that take minutes.
pub(crate) fn endless(folder: &Path) -> PathBuf {
    language(folder, "endless", alphabet(), 1 << 16)
}

/// A language model whose tokens are the bytes from 0xAE on: few of its texts are UTF-8.
pub(crate) fn language_model_of_bytes(folder: &Path) -> PathBuf {
    // A tokenizer of bytes writes these as the characters of these numbers.
    let bytes = (0xAE..=0xFF_u8).map(|byte| char::from(byte).to_string());
    language(folder, "bytes", bytes.collect(), 4096)
}

fn language(folder: &Path, name: &str, alphabet: Vec<String>, positions: usize) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    let begin = alphabet.len();
    let mut tokens = alphabet;
    tokens.extend(["<|end|>", "<|user|>", "<|assistant|>"].map(str::to_owned));
    let config = json!({
        "model_type": "llama", "vocab_size": tokens.len(), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "max_position_embeddings": positions, "tie_word_embeddings": false, "eos_token_id": null,
    })
    .to_string();
    fs::write(folder.join("config.json"), &config).unwrap();
    let weights = DecoderConfig::from_json(&config).unwrap().random_weights(3).unwrap();
    write_weights(&weights, &folder.join("model.safetensors"));
    let vocabulary: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let special = |(id, token): (usize, &String)| {
        json!({ "id": id, "content": token, "special": true, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false })
    };
    let added: Vec<_> = tokens.iter().enumerate().skip(begin).map(special).collect();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": false });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                   "vocab": vocabulary, "merges": [] },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let template = "{% for message in messages %}\n\
        {% if message['role'] not in ['user', 'assistant', 'system'] %}\n\
        {{ raise_exception('there is no role ' + message['role']) }}\n\
        {% endif %}\n\
        {{ '<|' + message['role'] + '|>' + message['content'].strip() + eos_token }}\n\
        {%- endfor %}\n\
        {%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
    let config = json!({ "chat_template": template, "eos_token": { "content": "<|end|>" } });
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    folder
}

fn write_weights(weights: &HashMap<String, HostTensor>, path: &Path) {
    let views = weights.iter().map(|(name, tensor)| {
        let shape = tensor.shape().to_vec();
        (name, TensorView::new(safetensors::Dtype::F32, shape, tensor.bytes()).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}
