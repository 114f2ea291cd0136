//! The real command on models of `tests/data`: what it prints, and the codes that scripts rely on.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

/// What the command came to.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// It ended with this code.
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// The error has these words.
    fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "`{words}` is not in: {}", self.stderr);
        self
    }

    /// The output has these words.
    fn prints(self, words: &str) -> Self {
        assert!(self.stdout.contains(words), "`{words}` is not in: {}", self.stdout);
        self
    }
}

fn accelerant(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    let output = command.args(args).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn case(name: &str) -> String {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/import/cases");
    cases.join(name).join("model.onnx").to_string_lossy().into_owned()
}

/// A path in a folder of the test.
fn within(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_string_lossy().into_owned()
}

/// Whether a backend runs here, and whether its library is there at all.
fn there(kind: &str) -> (bool, bool) {
    let told = accelerant(&["doctor", "--json"]).json();
    let backends = told["backends"].as_array().unwrap();
    let Some(backend) = backends.iter().find(|backend| backend["backend"] == kind) else {
        return (false, false);
    };
    let loads = !backend["description"].as_str().unwrap().contains("cannot be loaded");
    (backend["runs"] == true, loads)
}

/// A `.npy` file of 32-bit floats, with a header as NumPy writes it.
fn npy(path: &str, shape: &str, values: &[f32]) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn help_names_every_command_and_code() {
    let help = accelerant(&["--help"]).expect(0).stdout;
    let commands =
        ["build", "run", "bench", "compare", "inspect", "check", "cache", "doctor", "completions"];
    for command in commands {
        assert!(help.contains(&format!("\n  {command}")), "{command} is not in {help}");
        assert!(accelerant(&[command, "--help"]).expect(0).stdout.contains("Usage: accelerant"));
    }
    assert!(help.contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(accelerant(&["completions", shell]).expect(0).stdout.contains("accelerant"));
    }
}

#[test]
fn a_wrong_command_line_is_code_2() {
    let model = case("dim_unbound");
    accelerant(&[]).expect(2);
    accelerant(&["fly"]).expect(2);
    accelerant(&["run", &model, "--backend", "abacus"])
        .expect(2)
        .says("tensorrt-rtx, tensorrt, ort, tract");
    accelerant(&["run", &model, "--shape", "n=8:1"]).expect(2).says("MIN <= OPT <= MAX");
    accelerant(&["run", &model, "--shape", "m=8"]).expect(2).says("there are: n");
    accelerant(&["run", &model, "--shape", "x:8x4"]).expect(2).says("axis 1 of `x` is 3");
    accelerant(&["run", &model, "--shape", "z:8x3"]).expect(2).says("no input is named `z`");
    accelerant(&["run", &model, "--precision", "fp15"]).expect(2).says("there are: fp32");
    accelerant(&["run", &model, "--precision", "int8"]).expect(2).says("ranges");
    accelerant(&["run", &model, "--precision", "fp32", "--ranges", "r.json"])
        .expect(2)
        .says("fp32 takes no --ranges");
    accelerant(&["bench", &model, "--streams", "0"]).expect(2).says("at least 1");
    accelerant(&["compare", &model, "--backends", "tract", "--tolerance=-1"]).expect(2);
    let odd = accelerant(&["run", &model, "--json", "--shape", "m=8"]).expect(2).json();
    assert_eq!(odd["error"]["exitCode"], 2);
}

#[test]
fn files_that_are_no_models_are_refused_by_name() {
    accelerant(&["run", "nowhere.onnx"]).expect(1).says("nowhere.onnx");
    let folder = TempDir::new().unwrap();
    let text = within(&folder, "text.onnx");
    std::fs::write(&text, "hello, this is no model").unwrap();
    accelerant(&["inspect", &text]).expect(3).says("text.onnx: these bytes are not an ONNX model");
    let engine = within(&folder, "cut.engine");
    std::fs::write(&engine, "ACCELENG and nothing else").unwrap();
    accelerant(&["run", &engine]).expect(3).says("cut.engine");
    accelerant(&["run", &case("string_in"), "--backend", "tract"]).expect(3).says("string");
}

#[test]
fn a_model_is_told_without_a_backend() {
    let told = accelerant(&["inspect", &case("lstm_reverse"), "--json"]).expect(0).json();
    assert_eq!(told["kind"], "model");
    assert_eq!(told["operators"], serde_json::json!({ "LSTM": 1 }));
    assert_eq!(told["opsets"]["ai.onnx"], 17);
    assert_eq!(told["weights"], serde_json::json!({ "values": 144, "bytes": 576 }));
    let inputs = serde_json::json!([{ "name": "x", "dtype": "f32", "shape": [5, 2, 3] }]);
    assert_eq!(told["signature"]["inputs"], inputs);
    let text = accelerant(&["inspect", &case("dim_unbound"), "--nodes"]).expect(0).stdout;
    assert!(text.contains("--shape n=1:8:32") && text.contains("Relu(x)"), "{text}");
}

#[test]
fn inputs_come_from_files_and_outputs_go_to_files() {
    let (folder, model) = (TempDir::new().unwrap(), case("dim_unbound"));
    let (x, all, y) =
        (within(&folder, "x.npy"), within(&folder, "y.npz"), within(&folder, "y.npy"));
    npy(&x, "(2, 3)", &[-1.0, 2.0, -3.0, 4.0, -5.0, 6.0]);
    for input in [x.clone(), format!("x={x}")] {
        let run = ["run", &model, "--backend", "tract", "--input", &input, "-o", &all, "--json"];
        let told = accelerant(&run).expect(0).json();
        assert_eq!(told["outputs"][0]["first"], serde_json::json!([0.0, 2.0, 0.0, 4.0, 0.0, 6.0]));
        assert_eq!(told["outputs"][0]["shape"], serde_json::json!([2, 3]));
        assert_eq!(told["backend"], "tract");
    }
    accelerant(&["run", &model, "--backend", "tract", "--input", &x, "-o", &y]).expect(0);
    assert_eq!(std::fs::read(&y).unwrap()[..6], *b"\x93NUMPY");
    // The outputs of one run are what another is compared with.
    accelerant(&["compare", &model, "--input", &x, "--expected", &all]).expect(0);
    let compare = |extra: &[&str]| {
        let mut args = vec!["compare", &model, "--backends", "tract", "--expected", &all];
        args.extend(extra);
        accelerant(&args)
    };
    compare(&["--input", &x]).expect(0);
    let other = within(&folder, "other.npy");
    npy(&other, "(2, 3)", &[-1.0, 2.5, -3.0, 4.0, -5.0, 6.0]);
    let differs = compare(&["--input", &other, "--json"]).expect(1).says("beyond its tolerance");
    let difference = &differs.json()["backends"][0]["outputs"][0]["difference"];
    assert_eq!((&difference["absolute"], &difference["worst"]), (&0.5.into(), &1.into()));
    compare(&["--input", &other, "--tolerance", "0.3"]).expect(0);
    // An input file that does not fit is told with tensor and axis.
    npy(&other, "(2, 2)", &[0.0; 4]);
    accelerant(&["run", &model, "--backend", "tract", "--input", &other])
        .expect(1)
        .says("tensor `x`, axis 1");
    accelerant(&["run", &model, "--backend", "tract", "--input", &format!("z={x}")])
        .expect(2)
        .says("the inputs are: x");
}

#[test]
fn random_inputs_are_those_of_their_seed() {
    let first = |seed: &str| {
        let run = ["run", &case("einsum"), "--backend", "tract", "--shape", "n=3", "--seed", seed];
        let told = accelerant(&[&run[..], &["--json"]].concat()).expect(0).json();
        assert_eq!(told["outputs"][0]["shape"][0], 3);
        told["outputs"][0]["first"].clone()
    };
    assert_eq!(first("7"), first("7"));
    assert_ne!(first("7"), first("8"));
}

#[test]
fn the_figures_are_those_that_were_asked_for() {
    let bench = ["bench", &case("lstm_reverse"), "--backend", "tract", "--warmup", "1"];
    let few = ["--duration", "0", "--iterations", "40", "--streams", "2", "--json"];
    let told = accelerant(&[&bench[..], &few].concat()).expect(0).json();
    let count = told["iterations"].as_u64().unwrap();
    assert!((40..44).contains(&count), "{told}");
    let latency = |key: &str| told["latencyMs"][key].as_f64().unwrap();
    let order = ["min", "median", "percentile(90%)", "percentile(95%)", "percentile(99%)", "max"];
    assert!(order.windows(2).all(|pair| latency(pair[0]) <= latency(pair[1])), "{told}");
    let wall = told["totalHostWalltimeS"].as_f64().unwrap();
    let throughput = told["throughput"].as_f64().unwrap();
    assert!((throughput * wall - count as f64).abs() < 1e-6 * count as f64);
    let text = accelerant(&[&bench[..], &["--duration", "0.05"]].concat()).expect(0).stdout;
    assert!(text.contains("Throughput: ") && text.contains("percentile(99%) = "), "{text}");
}

#[test]
fn the_times_of_each_run_are_written_with_names_of_trtexec() {
    let folder = tempfile::tempdir().unwrap();
    let [times, none] = ["times.json", "none/times.json"].map(|name| within(&folder, name));
    let bench = ["bench", &case("lstm_reverse"), "--backend", "tract", "--warmup", "1", "--json"];
    let few = ["--duration", "0", "--iterations", "20", "--streams", "2"];
    let with = |file: [&str; 2]| accelerant(&[&bench[..], &few, &file].concat());
    let told = with(["--exportTimes", &times]).expect(0).json();
    let written: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(&times).unwrap()).unwrap();
    assert_eq!(told["iterations"], written.len());
    let field = |run: &serde_json::Value, name: &str| run[name].as_f64().unwrap();
    let mut latencies: Vec<f64> = written.iter().map(|run| field(run, "latencyMs")).collect();
    for run in &written {
        let took = field(run, "endD2hMs") - field(run, "startEnqMs");
        assert!((took - field(run, "latencyMs")).abs() < 1e-9 && took > 0.0, "{run}");
    }
    assert!(
        written.windows(2).all(|run| field(&run[0], "startEnqMs") <= field(&run[1], "startEnqMs"))
    );
    latencies.sort_by(f64::total_cmp);
    assert_eq!(told["latencyMs"]["max"].as_f64(), latencies.last().copied());
    // The folder is looked for before the work, and no layer is timed where there is no GPU.
    with(["--export-times", &none]).expect(1).says("there is no folder");
    with(["--exportProfile", &times]).expect(3).says("does not tell how long its layers take");
}

#[test]
fn all_refusals_are_told_at_once() {
    let told =
        accelerant(&["check", &case("loop"), "--backend", "tract", "--json"]).expect(3).json();
    assert_eq!(told["backends"][0]["verdict"], "refuses");
    assert_eq!(told["backends"][0]["refusals"][0]["operator"], "Loop");
    accelerant(&["check", &case("lstm_reverse"), "--backend", "tract"]).expect(0);
}

/// The mean over an axis without elements, which panics inside tract.
fn mean_of_none() -> Vec<u8> {
    use accelerant::export::{OnnxModel, onnx::*};
    let size = |size| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(tensor_proto::DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: vec![size(1), size(2), size(0)] }),
    };
    let of_tensor =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    let value = |name: &str| ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(of_tensor.clone()),
        ..Default::default()
    };
    let node = NodeProto {
        op_type: Some("GlobalAveragePool".into()),
        input: vec!["x".into()],
        output: vec!["y".into()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("none".into()),
        node: vec![node],
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: Some(18), ..Default::default() };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    };
    OnnxModel::from_proto(model).unwrap().to_bytes()
}

#[test]
fn a_panic_of_a_library_is_told_once() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("none.onnx");
    std::fs::write(&model, mean_of_none()).unwrap();
    let ran = accelerant(&["run", model.to_str().unwrap(), "--backend", "tract"]);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stderr.contains("it panicked"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked at"), "{}", ran.stderr);
}

#[test]
fn onnx_runtime_and_tract_are_compared() {
    if !there("ort").0 {
        eprintln!("skipped: no ONNX Runtime");
        return;
    }
    let model = case("lstm_reverse");
    let told =
        accelerant(&["compare", &model, "--backends", "tract,ort", "--json"]).expect(0).json();
    let row = &told["backends"][0];
    assert_eq!((&row["backend"], &row["passed"]), (&"ort".into(), &true.into()));
    assert!(row["reference"].as_str().unwrap().contains("tract"));
    let names: Vec<_> = row["outputs"].as_array().unwrap().iter().map(|o| &o["name"]).collect();
    assert_eq!(names, ["Y", "h"]);
    let layers = ["compare", &model, "--backends", "ort", "--layers"];
    assert!(accelerant(&layers).expect(0).stdout.contains("against tract"));
}

#[test]
fn what_cannot_run_here_is_code_4() {
    let missing = ["ort", "tensorrt-rtx", "tensorrt"].into_iter().find(|kind| !there(kind).0);
    let Some(missing) = missing else { return };
    accelerant(&["run", &case("lstm_reverse"), "--backend", missing]).expect(4);
    let told = accelerant(&["doctor", "--json"]).expect(0).json();
    let tract = told["backends"].as_array().unwrap().iter().find(|b| b["backend"] == "tract");
    assert_eq!(tract.unwrap()["runs"], true);
}

#[test]
fn an_engine_of_a_portable_backend_is_built_and_run() {
    let folder = TempDir::new().unwrap();
    let engine = within(&folder, "t.engine");
    let model = case("dim_unbound");
    let build = ["build", &model, "--backend", "tract", "--shape", "n=1:2:4", "-o", &engine];
    accelerant(&build).expect(0);
    let run = |extra: &[&str]| accelerant(&[&["run", &engine, "--json"], extra].concat());
    assert_eq!(run(&[]).expect(0).json()["outputs"][0]["shape"], serde_json::json!([2, 3]));
    assert_eq!(run(&["--shape", "n=4"]).expect(0).json()["outputs"][0]["shape"][0], 4);
    run(&["--shape", "n=5"]).expect(1).says("1..=4");
    run(&["--shape", "m=4"]).expect(2).says("there are: n");
    run(&["--fp16"]).expect(2).says("precision");
    let other = within(&folder, "other.engine");
    accelerant(&["build", &engine, "-o", &other]).expect(2).says("an engine already");
    accelerant(&["build", &engine, "-o", &engine]).expect(2).says("is the model itself");
    accelerant(&["build", &model, "--backend", "tract", "-o", "/nowhere/t.engine"])
        .expect(1)
        .says("/nowhere");
}

#[test]
fn tensorrt_rtx_builds_on_the_cpu_and_the_cache_keeps_it() {
    if !there("tensorrt-rtx").1 {
        eprintln!("skipped: no library of TensorRT-RTX");
        return;
    }
    let folder = TempDir::new().unwrap();
    let (engine, cache) = (within(&folder, "e.engine"), within(&folder, "cache"));
    let model = case("dim_unbound");
    let of_rtx = ["--backend", "rtx", "-o", &engine, "--cache", &cache, "--json"];
    let build = |extra: &[&str]| accelerant(&[&["build", &model], &of_rtx[..], extra].concat());
    build(&[]).expect(2).says("--shape n=1:8:32");
    let shapes = ["--minShapes=x:1x3", "--optShapes=x:2x3", "--maxShapes=x:8x3"];
    let told = build(&shapes).expect(0).json();
    assert_eq!(told["backend"], "tensorrt-rtx");
    assert_eq!(told["report"]["cache"]["result"], "miss");
    let range = serde_json::json!({ "symbol": "n", "min": 1, "opt": 2, "max": 8 });
    assert_eq!(told["signature"]["inputs"][0]["shape"][0], range);
    let again = build(&["--shape", "n=1:2:8"]).expect(0).json();
    assert_eq!(again["report"]["cache"]["result"], "hit");
    let timed = ["--shape", "n=1:2:8", "--timingCacheFile", &within(&folder, "timings")];
    let again = build(&timed).expect(0).json();
    assert_eq!(again["report"]["cache"]["result"], "hit");
    let header = accelerant(&["inspect", &engine, "--json"]).expect(0).json();
    assert_eq!((&header["kind"], &header["built"]), (&"engine".into(), &true.into()));
    assert_eq!(header["signature"], told["signature"]);
    let text = accelerant(&["inspect", &engine]).expect(0).stdout;
    assert!(text.contains("n in 1..=8, tuned for [2]"), "{text}");
    if !there("tensorrt-rtx").0 {
        accelerant(&["run", &engine]).expect(4).says("no CUDA driver");
    }
    let listed = || accelerant(&["cache", "ls", "--cache", &cache, "--json"]).expect(0).json();
    let entries = listed()["entries"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 1);
    accelerant(&["cache", "verify", "--cache", &cache]).expect(0);
    flip(entries[0]["path"].as_str().unwrap().into());
    accelerant(&["cache", "verify", "--cache", &cache]).expect(1).says("1 damaged");
    accelerant(&["cache", "gc", "--limit", "10G", "--cache", &cache]).expect(0);
    assert_eq!(listed()["entries"].as_array().unwrap().len(), 1);
    accelerant(&["cache", "clear", "--cache", &cache]).expect(0);
    assert_eq!(listed()["entries"].as_array().unwrap().len(), 0);
    let quick = build(&["--shape", "n=1:2:8", "--builderOptimizationLevel=0"]).expect(0).json();
    assert_eq!(quick["report"]["cache"]["result"], "miss");
    build(&["--shape", "n=1:2:8", "--builderOptimizationLevel=6"]).expect(2).says("0..=5");
    let small = build(&["--shape", "n=1:2:8", "--memPoolSize=workspace:64"]).expect(0).json();
    let change = &small["report"]["cache"]["reason"]["changes"][0];
    assert_eq!((&change["part"], &change["now"]), (&"workspace".into(), &"Some(67108864)".into()));
    let unused = build(&["--shape", "n=1:2:8", "--timing-cache=/nowhere/at/all"]);
    unused.expect(0).says("a --timing-cache would keep");
    build(&["--memPoolSize=dlaSRAM:1"]).expect(2).says("workspace:4G");
}

/// A pipe would be waited for without end.
#[cfg(unix)]
#[test]
fn files_that_are_read_are_plain_files() {
    let folder = TempDir::new().unwrap();
    let pipe = within(&folder, "p.npy");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let model = case("dim_unbound");
    let run = ["run", &model, "--backend", "tract", "--shape", "n=2"];
    for (options, code) in [
        (&["--input", &*pipe][..], 1),
        (&["--inputs", &pipe], 1),
        (&["--precision", "int8", "--ranges", &pipe], 1),
        (&["--precision", "int8", "--ranges", "/dev/zero"], 1),
    ] {
        let ran = accelerant(&[&run[..], options].concat()).expect(code);
        ran.says("not a regular file").says(options.last().unwrap());
    }
}

/// A folder that the environment names is no mistake of the command line.
#[cfg(unix)]
#[test]
fn a_cache_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let place = folder.path().to_str().unwrap();
    accelerant(&["cache", "ls", "--cache", place]).expect(2).says("other users can write");
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    let output = command.args(["cache", "ls"]).env("ACCELERANT_ENGINE_CACHE", place).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("other users can write"));
}

/// A file that a build of Enterprise TensorRT would set aside.
#[test]
fn the_cache_counts_and_checks_timings() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().to_str().unwrap();
    let path = folder.path().join(format!("{}.timings", "0a".repeat(32)));
    std::fs::write(&path, "no timings").unwrap();
    let run = |args: &[&str]| accelerant(&[&["cache"], args, &["--cache", cache]].concat());
    let listed = run(&["ls", "--json"]).expect(0).json();
    assert_eq!((&listed["bytes"], listed["timings"].as_array().unwrap().len()), (&10.into(), 1));
    assert_eq!(listed["timings"][0]["path"], path.to_str().unwrap());
    run(&["ls"]).expect(0).prints("0 engines and 1 timing cache, 10 bytes");
    run(&["verify"]).expect(1).says("1 damaged").prints("DAMAGED: it is cut short");
    run(&["gc"]).expect(0).prints("kept 0 engines and 1 timing cache");
    run(&["gc", "--limit", "9"]).expect(0).prints("removed 0 engines and 1 timing cache, 10 bytes");
    assert!(!path.exists());
    std::fs::write(&path, "no timings").unwrap();
    run(&["clear"]).expect(0).prints("removed 0 engines and 1 timing cache, 10 bytes");
    std::fs::create_dir(&path).unwrap();
    for removing in [&["clear"][..], &["gc", "--limit", "1"]] {
        run(removing).expect(1).says("cannot remove").says(path.to_str().unwrap());
    }
}

/// Changes the last byte.
fn flip(path: PathBuf) {
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_is_not_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    let output = command.args(["inspect", &case("dim_unbound")]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the result cannot be written"), "{told}");
}

#[test]
fn streams_have_a_bound() {
    let bench = ["bench", &case("dim_unbound"), "--backend", "tract", "--streams", "100000"];
    accelerant(&bench).expect(2).says("--streams is at most 1024");
}
