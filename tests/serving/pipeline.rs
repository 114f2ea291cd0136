//! Pipelines: from a caller's type to another, one item or many.

use std::cell::Cell;
use std::error::Error as _;
use std::num::ParseFloatError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use accelerant::backend::Executable;
use accelerant::export::{GraphBuilder, OnnxModel, Reduction};
use accelerant::pipeline::Pipeline;
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{
    DType, Dim, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Result, Signature,
    Symbol, TensorSpec,
};
use ndarray::{Array1, Array2, Ix1, Ix2, array};
use proptest::prelude::*;

use super::common::{TF32, is_portable, random};
use super::counting::Counting;
use super::model;

const LINE: [f32; 2] = [2.0, 1.0];

/// `y = 2 x + 1` of any shape.
fn line(shape: impl IntoIterator<Item = Dim>) -> OnnxModel {
    let graph = GraphBuilder::new("line");
    let x = graph.input("x", DType::F32, shape).unwrap();
    graph.output("y", &x.affine(LINE[0].into(), LINE[1].into()).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn batch(least: usize, most: usize) -> Dim {
    Symbol::new("batch", least, most, most).unwrap().into()
}

/// From numbers to as many.
fn numbers(executable: impl Executable + 'static) -> Pipeline<[f32], Vec<f32>> {
    Pipeline::new(executable)
        .pre(|item: &[f32]| Array1::from(item.to_vec()))
        .post(|outputs| outputs[0].to_vec::<f32>())
}

fn on_line(item: &[f32]) -> Vec<f32> {
    item.iter().map(|x| LINE[0] * x + LINE[1]).collect()
}

fn items(lengths: &[usize]) -> Vec<Vec<f32>> {
    let item = |(i, &n): (usize, &usize)| (0..n).map(|j| (100 * i + j) as f32).collect();
    lengths.iter().enumerate().map(item).collect()
}

fn slices(items: &[Vec<f32>]) -> impl Iterator<Item = &[f32]> {
    items.iter().map(Vec::as_slice)
}

#[test]
fn items_that_are_submitted_to_a_batcher_become_a_batch() {
    let backend = Counting::default();
    let options = BatcherOptions::new().max_batch(2).max_delay(Duration::from_secs(600));
    let module = backend.compile(&line([batch(1, 8), 3.into()]));
    let pipeline = numbers(Batcher::new(module, &options).unwrap());
    let (first, second) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
    let pending = [&first, &second].map(|item| pipeline.submit(item).unwrap());
    let got = pending.map(|pending| pending.wait().unwrap());
    assert_eq!(got, [on_line(&first), on_line(&second)]);
    assert_eq!(backend.shapes(), [[2, 3]]);
}

#[test]
fn an_item_runs_in_the_background_of_any_model() {
    // A batch of any size, one that is filled up, and none.
    for dims in [[batch(1, 8), 3.into()], [batch(4, 8), 3.into()], [1.into(), 3.into()]] {
        let backend = Counting::default();
        let pipeline = numbers(backend.compile(&line(dims.clone())));
        backend.close();
        let item = [1.0, 2.0, 3.0];
        let mut pending = pipeline.clone().submit(&item).unwrap();
        backend.wait_for(1);
        assert!(!pending.is_done() && pending.wait_timeout(Duration::from_millis(1)).is_none());
        backend.open();
        let mut context = Context::from_waker(Waker::noop());
        let got = loop {
            if let Poll::Ready(got) = Pin::new(&mut pending).poll(&mut context) {
                break got.unwrap();
            }
            thread::yield_now();
        };
        assert_eq!(got, on_line(&item));
        assert_eq!(backend.shapes(), [[dims[0].min(), 3]]);
    }
}

#[test]
fn an_item_that_does_not_fit_is_refused_at_once_and_a_failure_comes_out_of_the_handle() {
    let backend = Counting::default();
    let module = backend.compile(&line([batch(1, 8), 3.into()]));
    let pipeline = numbers(module.clone());
    let error = pipeline.submit(&[1.0]).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::ShapeMismatch, Some("pre")));
    let failing = Pipeline::new(module)
        .pre(|item: &[f32]| Array1::from(item.to_vec()))
        .post(|_| Err::<(), _>(Error::new(ErrorKind::Processing, "no such class")));
    let error = failing.submit(&[1.0, 2.0, 3.0]).unwrap().wait().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Processing, Some("post")));
}

/// Sentences of any length: the sum of embeddings, weighed, through a layer; and the embeddings.
fn sentences(dims: [Dim; 2]) -> InferenceModule {
    let [batch, length] = dims;
    let graph = GraphBuilder::new("sentences");
    let ids = graph.input("ids", DType::I64, [batch.clone(), length]).unwrap();
    let weight = graph.input("weight", DType::F32, [batch]).unwrap();
    let table = graph.weight("table", random(&[50, 8], 1)).unwrap();
    let layer = graph.weight("layer", random(&[8, 5], 2)).unwrap();
    let words = table.gather(&ids, 0).unwrap();
    let weight = weight.unsqueeze(&[1]).unwrap();
    let sum = words.reduce(Reduction::Sum, &[1]).unwrap().mul(&weight).unwrap();
    graph.output("scores", &sum.matmul(&layer).unwrap().tanh().unwrap()).unwrap();
    graph.output("words", &words).unwrap();
    InferenceModule::compile(&graph.finish().unwrap(), &OptimizeOptions::new()).unwrap()
}

struct Sentence {
    words: Vec<i64>,
    weight: f32,
}

struct Read {
    scores: Array1<f32>,
    words: Array2<f32>,
}

/// What the model of sentences computes.
fn expected(sentence: &Sentence) -> Read {
    let [table, layer] = [([50, 8], 1), ([8, 5], 2)]
        .map(|(shape, seed)| random(&shape, seed).into_dimensionality::<Ix2>().unwrap());
    let rows: Vec<_> = sentence.words.iter().map(|&id| id as usize).collect();
    let words = table.select(ndarray::Axis(0), &rows);
    let sum = words.sum_axis(ndarray::Axis(0)) * sentence.weight;
    Read { scores: sum.dot(&layer).mapv(f32::tanh), words }
}

/// Gives back what it is given, and keeps it.
#[derive(Debug)]
struct Echo {
    signature: Signature,
    given: Mutex<Vec<Vec<HostTensor>>>,
}

impl Echo {
    fn new(inputs: &[&[Dim]], outputs: &[&[Dim]]) -> Self {
        let spec = |dims: &&[Dim]| TensorSpec::new("x", DType::F32, dims.to_vec());
        let inputs: Vec<_> = inputs.iter().map(spec).collect();
        let outputs: Vec<_> = outputs.iter().map(spec).collect();
        Self { signature: Signature::new(inputs, outputs), given: Mutex::default() }
    }
}

impl Executable for Echo {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.given.lock().unwrap().push(inputs.to_vec());
        Ok(inputs.to_vec())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn many_give_what_each_gives(
        (least, most, at_most) in (1..4usize, 0..5usize, 1..9usize),
        lengths in prop::collection::vec(1..5usize, 0..20),
    ) {
        let most = least + most;
        let module = sentences([batch(least, most), Dim::dynamic("length", 1..=4).unwrap()]);
        // TensorRT may have products in TF32.
        let near = if is_portable(&module.backend()) { 1e-5 } else { TF32.absolute as f32 };
        let pipeline = Pipeline::new(module)
            .pre(|s: &Sentence| (Array1::from(s.words.clone()), HostTensor::scalar(s.weight)))
            .post(|outputs| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Read {
                    scores: outputs[0].to_array()?.into_dimensionality::<Ix1>()?,
                    words: outputs[1].view()?.into_dimensionality::<Ix2>()?.to_owned(),
                })
            })
            .max_batch(at_most);
        let sentences: Vec<_> = (lengths.iter().enumerate())
            .map(|(i, &n)| Sentence {
                words: (0..n).map(|j| ((7 * i + 3 * j) % 50) as i64).collect(),
                weight: i as f32 / 10.0 + 0.1,
            })
            .collect();
        let together = pipeline.run_batch(&sentences).unwrap();
        prop_assert_eq!(together.len(), sentences.len());
        for (sentence, got) in sentences.iter().zip(&together) {
            let alone = pipeline.run(sentence).unwrap();
            let expected = expected(sentence);
            for got in [got, &alone] {
                let far = (&got.scores - &expected.scores).mapv(f32::abs);
                prop_assert!(far.iter().all(|&far| far < near), "{far}");
                prop_assert_eq!(&got.words, &expected.words);
            }
        }
    }
}

#[test]
fn items_go_in_chunks_of_as_many_as_the_model_takes() {
    let backend = Counting::default();
    let pipeline = numbers(backend.compile(&model()));
    let items = items(&[3; 19]);
    let expected: Vec<_> = items.iter().map(|item| on_line(item)).collect();
    assert_eq!(pipeline.run_batch(slices(&items)).unwrap(), expected);
    assert_eq!(backend.shapes(), [[8, 3], [8, 3], [3, 3]]);
    // Iterators and slices, of borrowed and of owned items.
    assert_eq!(pipeline.run_batch(slices(&items[..2])).unwrap(), expected[..2]);
    assert_eq!(pipeline.run_batch([items[0].as_slice(), &items[1]]).unwrap(), expected[..2]);
    assert_eq!(pipeline.clone().max_batch(99).run_batch(items.clone()).unwrap(), expected);
    assert_eq!(pipeline.run(&items[1]).unwrap(), expected[1]);
    let few = pipeline.max_batch(2).run_batch([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]]).unwrap();
    assert_eq!(few, [[3.0, 5.0], [7.0, 9.0], [11.0, 13.0]]);
    assert_eq!(backend.shapes()[9..], [[2, 2], [1, 2]]);
}

#[test]
fn no_items_are_no_runs() {
    let backend = Counting::default();
    let pipeline = numbers(backend.compile(&model()));
    assert!(pipeline.run_batch(Vec::<Vec<f32>>::new()).unwrap().is_empty());
    assert!(backend.shapes().is_empty());
}

#[test]
fn items_of_other_shapes_go_in_batches_of_their_own() {
    let backend = Counting::default();
    let pipeline = numbers(backend.compile(&model()));
    let items = items(&[3, 1, 3, 2, 1, 3]);
    let expected: Vec<_> = items.iter().map(|item| on_line(item)).collect();
    assert_eq!(pipeline.run_batch(slices(&items)).unwrap(), expected);
    assert_eq!(backend.shapes(), [[2, 1], [1, 2], [3, 3]]);
}

#[test]
fn a_least_batch_is_filled_up_with_the_last_item() {
    for first in [batch(4, 4), 4.into()] {
        let backend = Counting::default();
        let pipeline = numbers(backend.compile(&line([first, 2.into()])));
        let items = items(&[2; 9]);
        let expected: Vec<_> = items.iter().map(|item| on_line(item)).collect();
        assert_eq!(pipeline.run_batch(items).unwrap(), expected);
        assert_eq!(backend.shapes(), [[4, 2], [4, 2], [4, 2]]);
    }
    let backend = Counting::default();
    let pipeline = numbers(backend.compile(&line([batch(3, 5), 2.into()])));
    assert_eq!(pipeline.run_batch(items(&[2; 6])).unwrap().len(), 6);
    assert_eq!(backend.shapes(), [[5, 2], [3, 2]]);

    let seen = Arc::new(Echo::new(&[&[batch(3, 5)]], &[&[batch(3, 5)]]));
    let pipeline = Pipeline::new(seen.clone()).pre(|&x: &f32| HostTensor::scalar(x));
    assert_eq!(pipeline.run_batch([6.0, 7.0]).unwrap().len(), 2);
    let [inputs] = &seen.given.lock().unwrap()[..] else { panic!("more than one run") };
    assert_eq!(inputs[0].to_vec::<f32>().unwrap(), [6.0, 7.0, 7.0]);
}

#[test]
fn which_models_have_a_batch() {
    let symbol = |name: &str| Dim::dynamic(name.to_owned(), 1..=8).unwrap();
    let chunk = |inputs: &[&[Dim]], outputs: &[&[Dim]]| {
        let text = format!("{:?}", Pipeline::new(Echo::new(inputs, outputs)));
        let (_, chunk) = text.rsplit_once(", ").unwrap();
        chunk.split_once(' ').unwrap().0.parse::<usize>().unwrap()
    };
    let (n, m, two) = (&symbol("n"), &symbol("m"), &Dim::from(2));
    let all = |dim: &Dim| [dim.clone(), 3.into()];
    assert_eq!(chunk(&[&all(n)], &[&all(n)]), 8);
    assert_eq!(chunk(&[&all(two), &all(two)], &[&all(two), &[2.into()]]), 2);
    assert_eq!(chunk(&[&all(n)], &[&all(&symbol("unk__7"))]), 8);
    let unbounded = Symbol::new("n", 1, 1, Symbol::UNBOUNDED).unwrap().into();
    assert_eq!(chunk(&[&all(&unbounded)], &[&all(&unbounded)]), 64);
    type Shapes<'a> = &'a [&'a [Dim]];
    let without: [(Shapes, Shapes); 8] = [
        (&[&[]], &[&[]]),
        (&[], &[&all(n)]),
        (&[&all(n)], &[&[]]),
        (&[&all(n)], &[&all(two)]),
        (&[&all(two)], &[&all(&3.into())]),
        (&[&all(n), &all(m)], &[&all(n)]),
        (&[&[n.clone(), n.clone()]], &[&all(n)]),
        (&[&all(n)], &[&all(&symbol("2*n"))]),
    ];
    for (inputs, outputs) in without {
        assert_eq!(chunk(inputs, outputs), 1, "{inputs:?} {outputs:?}");
    }
}

#[test]
fn outputs_that_turn_out_not_to_have_the_batch_are_refused() {
    let shape = |name: &str| [Dim::dynamic(name.to_owned(), 1..=8).unwrap(), 2.into()];
    let graph = GraphBuilder::new("doubled");
    let x = graph.input("x", DType::F32, shape("n")).unwrap();
    graph.output("y", &graph.concat(&[&x, &x], 0).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let module = InferenceModule::compile(&model, &OptimizeOptions::new()).unwrap();
    /// As a file may have it, which does not say how sizes depend on each other.
    #[derive(Debug)]
    struct Unsaid(InferenceModule, Signature);
    impl Executable for Unsaid {
        fn signature(&self) -> &Signature {
            &self.1
        }
        fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
            self.0.run(inputs)
        }
    }
    let mut signature = module.signature().clone();
    signature.outputs[0].shape = shape("unk__7").into();
    let pipeline = numbers(Unsaid(module, signature));
    let error = pipeline.run(&[1.0, 2.0]).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Execution, Some("run")));
    assert_eq!((error.tensor(), error.axis()), (Some("y"), Some(0)));
    assert!(error.to_string().contains("the output of 1 items has 2 rows"), "{error}");
}

#[test]
fn without_a_batch_each_item_has_all_axes() {
    let backend = Counting::default();
    let matrix = || line([3.into(), 2.into()]);
    let pipeline = Pipeline::new(backend.compile(&matrix()))
        .unbatched()
        .pre(|x: &Array2<f32>| x.clone())
        .post(|outputs| outputs[0].to_array::<f32>());
    let x = array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
    let y = x.mapv(|x| LINE[0] * x + LINE[1]).into_dyn();
    assert_eq!(pipeline.run_batch([&x, &x]).unwrap(), [y.clone(), y]);
    assert_eq!(backend.shapes(), [[3, 2], [3, 2]]);
    // What looks like a batch is never silently one.
    let error = Pipeline::new(backend.compile(&matrix())).run(&[x.into()]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::ShapeMismatch, Some("x")));
    assert!(error.to_string().contains("without the batch axis of [3, 2]"), "{error}");
}

#[test]
fn errors_say_which_item_and_keep_their_source() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    let parse = |line: &str| -> Result<Array1<f32>, ParseFloatError> {
        line.split(' ').map(str::parse).collect()
    };
    let read = |outputs: &[HostTensor]| match outputs[0].to_vec::<f32>() {
        Ok(values) if values[0] > 100.0 => Err("too large".into()),
        Ok(values) => Ok(values),
        Err(e) => Err(Box::<dyn std::error::Error + Send + Sync>::from(e)),
    };
    let pipeline = Pipeline::new(module).pre(parse).post(read);
    assert_eq!(pipeline.run("1 2").unwrap(), [3.0, 5.0]);
    assert_eq!(pipeline.run("x").unwrap_err().item(), None, "there is but one");

    let texts = ["1 2", "1 2 3 4 5", "1", "x", "300", "-1 7 8", "4 5 6", "2 3"];
    let results: Vec<_> = pipeline.run_iter(texts).collect();
    let errors: Vec<_> = results.iter().map(|result| result.as_ref().err()).collect();
    let found = |i: usize| {
        let error: &Error = errors[i].unwrap();
        assert_eq!(error.item(), Some(i));
        (error.kind(), error.operation(), error.tensor(), error.axis())
    };
    assert_eq!(found(1), (ErrorKind::OutOfProfile, Some("pre"), Some("x"), Some(0)));
    assert_eq!(found(3), (ErrorKind::Processing, Some("pre"), None, None));
    assert!(errors[3].unwrap().source().unwrap().is::<ParseFloatError>());
    assert_eq!(errors[3].unwrap().to_string(), "pre: item 3: invalid float literal");
    assert_eq!(found(4), (ErrorKind::Processing, Some("post"), None, None));
    assert_eq!(errors[4].unwrap().source().unwrap().to_string(), "too large");
    // Both are of one batch, which failed.
    assert_eq!(found(5), (ErrorKind::Execution, Some("run"), Some("x"), None));
    assert_eq!(found(6), (ErrorKind::Execution, Some("run"), Some("x"), None));
    for (i, y) in [(0, [3.0, 5.0].as_slice()), (2, &[3.0]), (7, &[5.0, 7.0])] {
        assert_eq!(results[i].as_ref().unwrap(), y);
    }
    // The first of them is that of the whole.
    assert_eq!(pipeline.run_batch(texts).unwrap_err().item(), Some(1));
    let many = vec!["1"; 30].into_iter().chain(["x"]);
    assert_eq!(pipeline.run_batch(many).unwrap_err().item(), Some(30));
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_name() {
    let module = sentences([batch(1, 4), Dim::dynamic("length", 1..=4).unwrap()]);
    let pipeline = Pipeline::new(module);
    let refusal = |inputs: &[HostTensor]| pipeline.run(inputs).unwrap_err();
    let (ids, weight) = (HostTensor::from(array![1i64, 2]), HostTensor::scalar(1.0f32));
    assert!(pipeline.run(&[ids.clone(), weight.clone()]).is_ok());
    let missing = refusal(std::slice::from_ref(&ids));
    assert_eq!((missing.kind(), missing.operation()), (ErrorKind::InputMismatch, Some("pre")));
    let doubles = refusal(&[ids.clone(), HostTensor::scalar(1.0f64)]);
    assert_eq!((doubles.kind(), doubles.tensor()), (ErrorKind::DTypeMismatch, Some("weight")));
    let one = refusal(&[ids, HostTensor::from(array![1.0f32])]);
    assert_eq!((one.kind(), one.tensor()), (ErrorKind::ShapeMismatch, Some("weight")));
    let long = refusal(&[HostTensor::from(Array1::<i64>::zeros(5)), weight]);
    assert_eq!((long.kind(), long.axis()), (ErrorKind::OutOfProfile, Some(0)));
}

#[test]
fn results_come_chunk_by_chunk() {
    let backend = Counting::default();
    let pipeline = numbers(backend.compile(&model())).max_batch(3);
    let taken = Cell::new(0);
    let endless = (0..).map(|i| {
        taken.set(taken.get() + 1);
        [i as f32]
    });
    let mut results = pipeline.run_iter(endless);
    assert_eq!(taken.get(), 0);
    for i in 0..4 {
        assert_eq!(results.next().unwrap().unwrap(), [LINE[0] * i as f32 + LINE[1]]);
        assert_eq!(taken.get(), if i < 3 { 3 } else { 6 });
    }
    assert_eq!(backend.shapes(), [[3, 1], [3, 1]]);
}

#[test]
fn a_panic_of_one_caller_is_not_felt_by_others() {
    let backend = Counting::default();
    let pipeline = Pipeline::new(backend.compile(&model()))
        .pre(|&x: &f32| {
            assert!(x != 13.0, "unlucky before");
            array![x]
        })
        .post(|outputs| {
            let y = outputs[0].to_vec::<f32>()?[0];
            assert!(y != 35.0, "unlucky after");
            Ok::<_, Error>(y)
        });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for bad in [13.0, 17.0] {
                    let run = || pipeline.run_batch([1.0, bad, 2.0]);
                    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
                    assert_eq!(pipeline.run_batch([1.0, 2.0]).unwrap(), [3.0, 5.0]);
                }
            });
        }
    });
}

#[test]
fn functions_are_chained() {
    let backend = Counting::default();
    let pipeline = numbers(backend.compile(&model()));
    // What is before the model may be split, as may what is after it.
    let split = Pipeline::new(backend.compile(&model()))
        .pre(|inputs: &[HostTensor]| [inputs[0].clone()])
        .pre(|item: &Vec<f32>| vec![Array1::from(item.clone())])
        .post(|outputs| Ok::<_, Error>(outputs.to_vec()))
        .post(|outputs| outputs[0].to_vec::<f32>());
    let x = vec![1.0, 2.0, 3.0];
    assert_eq!(split.run(&x).unwrap(), pipeline.run(&x).unwrap());
}

#[test]
fn single_items_of_threads_meet_in_a_batcher() {
    let backend = Counting::default();
    let options = BatcherOptions::new().max_batch(4).max_delay(std::time::Duration::from_secs(600));
    let batcher = Batcher::new(backend.compile(&model()), &options).unwrap();
    let pipeline = numbers(batcher);
    thread::scope(|scope| {
        for i in 0..4 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                let x = [i as f32, 0.5];
                assert_eq!(pipeline.run(&x).unwrap(), on_line(&x));
            });
        }
    });
    assert_eq!(backend.shapes(), [[4, 2]]);
}
