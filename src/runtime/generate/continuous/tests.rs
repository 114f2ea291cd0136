//! Passes that are made ahead of their results, as they are on a GPU: real passes of a host session whose results come late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::queue::Queue;
use super::request::Request;
use super::worker::Worker;
use crate::backend::BackendKind;
use crate::cache::EngineCache;
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::{Decoder, DecoderConfig, DecoderOptions, Tokens};
use crate::runtime::OptimizeOptions;
use crate::runtime::generate::session::{Row, Session};
use crate::runtime::generate::{DecoderModule, GenerateOptions};
use crate::tensor::HostTensor;

const CAPACITY: usize = 24;

struct Late {
    inner: Box<dyn Session>,
    results: VecDeque<Vec<Result<u32>>>,
    /// Passes that took tokens which nobody had seen.
    ahead: Arc<AtomicUsize>,
}

impl Session for Late {
    fn forget(&mut self, texts: &[usize]) -> Result<()> {
        self.inner.forget(texts)
    }

    fn encode(&mut self, source: &[HostTensor]) -> Result<()> {
        self.inner.encode(source)
    }

    /// As the two engines of a device have it.
    fn width(&self, most: usize) -> usize {
        if most > 1 { self.inner.width(CAPACITY) } else { 1 }
    }

    fn pass(&mut self, rows: &[Option<Row<'_>>]) -> Result<()> {
        self.results.clear();
        self.inner.pass(rows)?;
        self.results.push_back(self.inner.tokens()?);
        Ok(())
    }

    fn step(&mut self, tokens: Option<&[u32]>) -> Result<()> {
        self.inner.step(tokens)?;
        self.ahead.fetch_add(1, SeqCst);
        self.results.push_back(self.inner.tokens()?);
        Ok(())
    }

    fn tokens(&mut self) -> Result<Vec<Result<u32>>> {
        Ok(self.results.pop_front().expect("a result"))
    }

    fn logits(&mut self) -> Result<Vec<f32>> {
        assert!(self.results.len() <= 1, "logits of a pass that another one followed");
        self.inner.logits()
    }

    fn ahead(&self) -> usize {
        2
    }
}

fn decoder() -> Result<Decoder> {
    let json = r#"{"model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64}"#;
    let config = DecoderConfig::from_json(json)?;
    let weights = config.random_weights(3)?;
    Ok(Decoder::new(config, weights))
}

fn options(batch: usize) -> (DecoderOptions, OptimizeOptions) {
    let compiling = OptimizeOptions::new().require(BackendKind::Tract).cache(EngineCache::off());
    (DecoderOptions::new(CAPACITY).tokens(Tokens::UpTo(8)).batch(batch), compiling)
}

fn compiled(batch: usize) -> Result<DecoderModule> {
    let (options, compiling) = options(batch);
    decoder()?.optimize_trt(&options, &compiling)
}

/// The graph of a Burn module has a fixed number of texts: passes compute the places of nobody too.
#[cfg(feature = "burn")]
#[test]
fn a_graph_of_a_fixed_batch_gives_the_same_tokens() -> Result<()> {
    let (decoder, (options, compiling)) = (decoder()?, options(3));
    let model = |target, options: &DecoderOptions| decoder.model(target, options);
    let fixed = DecoderModule::of_models(model, &options, &compiling)?;
    let texts = &fixed.module().signature().inputs[0].shape.dims()[0];
    assert_eq!(texts.fixed(), Some(3));
    let (single, batcher) = (compiled(1)?, fixed.continuous(&Default::default())?);
    let requests: Vec<(Vec<u32>, GenerateOptions)> = (1..9)
        .map(|i| ((i..3 * i).collect(), GenerateOptions::new().max_tokens(17 - 2 * i as usize)))
        .collect();
    for together in [1, 2, 8] {
        for requests in requests.chunks(together) {
            let begun = batcher.submit_all(requests)?;
            for (generation, (prompt, options)) in begun.into_iter().zip(requests) {
                let got = generation.collect::<Result<Vec<_>>>()?;
                let expected = single.generate(prompt, options)?.collect::<Result<Vec<_>>>()?;
                assert_eq!(got, expected, "{prompt:?} of {together}");
            }
        }
    }
    Ok(())
}

#[test]
fn passes_ahead_of_their_results_give_the_same_tokens() -> Result<()> {
    let (single, batch) = (compiled(1)?, compiled(3)?);
    let module = batch.inner();
    let ahead = Arc::<AtomicUsize>::default();
    let queue = Arc::new(Queue::new(3, 100));
    let mut worker = Worker::new(module.clone(), queue.clone());
    let (inner, results) = (module.session()?, VecDeque::new());
    worker.set_session(Box::new(Late { inner, results, ahead: ahead.clone() }));
    let thread = thread::spawn(move || worker.run());
    let greedy = |most: usize| GenerateOptions::new().max_tokens(most);
    let drawn = greedy(9).temperature(1.5).seed(4);
    let first_of = |prompt: &[u32], at: usize| -> Result<u32> {
        single.generate(prompt, &greedy(at + 1))?.last().expect("a token")
    };
    // One that ends while passes that took its tokens are under way.
    let stopped = greedy(20).stop_tokens([first_of(&[7, 7], 5)?]);
    let requests: Vec<(Vec<u32>, GenerateOptions)> = vec![
        ((1..6).collect(), greedy(100)),
        (vec![9], greedy(3)),
        (vec![7, 7], stopped),
        ((10..30).collect(), greedy(100)),
        (vec![2, 3], greedy(15)),
        ((40..53).collect(), drawn),
        (vec![8], greedy(100)),
    ];
    let submit = |prompt: &[u32], options: &GenerateOptions| {
        let (request, tokens) = Request::new(module, prompt, options)?;
        queue.push(vec![request])?;
        Ok::<_, Error>(tokens)
    };
    for round in 0..20 {
        let mut begun = Vec::new();
        let mut left = submit(&[1], &greedy(100))?;
        for (i, (prompt, options)) in requests.iter().enumerate() {
            let mut tokens = submit(prompt, options)?;
            let few: Vec<u32> = tokens.by_ref().take(round % 4).collect::<Result<_>>()?;
            begun.push((few, tokens));
            if i == 2 {
                left.next().transpose()?;
            }
        }
        drop(left);
        for ((mut got, tokens), (prompt, options)) in begun.into_iter().zip(&requests) {
            got.extend(tokens.collect::<Result<Vec<_>>>()?);
            let expected = single.generate(prompt, options)?.collect::<Result<Vec<_>>>()?;
            assert_eq!(got, expected, "{prompt:?} in round {round}");
        }
    }
    let before = (queue.counters().passes, ahead.load(SeqCst));
    assert_eq!(submit(&[5], &greedy(100))?.count(), CAPACITY);
    let passes = queue.counters().passes - before.0;
    let ahead = ahead.load(SeqCst) - before.1;
    // Alone, each pass but the first is ahead, and none is made in vain.
    assert_eq!((passes as usize, ahead), (CAPACITY, CAPACITY - 1));
    let mut last = submit(&[5], &greedy(100))?;
    queue.end();
    let error = last.by_ref().last().expect("an item").err();
    assert!(error.is_none_or(|e| e.kind() == ErrorKind::ShutDown));
    thread.join().expect("no panic");
    Ok(())
}
