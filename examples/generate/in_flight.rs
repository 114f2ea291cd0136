//! Requests in flight in one batch, which arrive one after the other, against the same requests on a batch of one.

use std::thread;
use std::time::{Duration, Instant};

use accelerant::generate::{
    ContinuousOptions, Decoder, DecoderModule, GenerateOptions, Generation,
};
use accelerant::{DType, Result as Made};

use crate::{Options, Result, compiling, decoder_options, median};

/// What one way took.
struct Times {
    /// From the first request to the last token.
    whole: Duration,
    /// From each request to its first token.
    firsts: Vec<Duration>,
    tokens: usize,
}

/// A request and what was found of its text.
type Text = Made<(Duration, Vec<u32>)>;

/// Runs both in turns, and prints tokens a second. A different text is told.
pub(crate) fn measure(
    decoder: &Decoder,
    requests: usize,
    dtype: DType,
    options: &Options,
) -> Result<()> {
    let form = options.forms.split(',').next().unwrap_or("gemm");
    let together = decoder_options(form, dtype, options)?;
    let single = decoder.optimize_trt(&together.clone().batch(1), &compiling(options))?;
    let batch = decoder.optimize_trt(&together, &compiling(options))?;
    println!("compiled on {}", batch.module().description());
    let vocabulary = decoder.config().vocabulary as u32;
    let prompts: Vec<Vec<u32>> = (0..requests as u32)
        .map(|text| {
            let token = |i| (i * 7919 + text * 104_729) % vocabulary;
            (0..options.prompt_tokens as u32).map(token).collect()
        })
        .collect();
    let mut all = [Vec::new(), Vec::new()];
    for run in 0..=options.runs {
        let (alone, expected) = one_after_the_other(&single, &prompts, options)?;
        let (flight, got) = in_flight(&batch, &prompts, options)?;
        let different = expected.iter().zip(&got).filter(|(a, b)| a != b).count();
        if different > 0 {
            println!("{different} of {requests} texts differ, by rounding if the type is narrow");
        }
        // The first one compiles kernels and captures graphs.
        if run > 0 {
            all[0].push(alone);
            all[1].push(flight);
        }
    }
    let [alone, flight] = &all;
    let name = format!("continuous batching, {} slots", options.batch);
    for (name, times) in [("one after the other", alone), (&*name, flight)] {
        let mut whole: Vec<Duration> = times.iter().map(|times| times.whole).collect();
        let mut firsts: Vec<Duration> =
            times.iter().flat_map(|times| times.firsts.iter().copied()).collect();
        let whole = median(&mut whole).as_secs_f64();
        println!(
            "{name}: {requests} requests, one every {} ms, prompt {} tokens {} capacity {} {}: {:.3} s, {:.1} tokens/s, \
             first token {:.1} ms",
            options.every,
            options.prompt_tokens,
            options.tokens,
            options.capacity,
            options.dtype,
            whole,
            times.first().map_or(0, |times| times.tokens) as f64 / whole,
            median(&mut firsts).as_secs_f64() * 1e3,
        );
    }
    Ok(())
}

fn generation(options: &Options) -> GenerateOptions {
    let all = GenerateOptions::new().max_tokens(options.tokens).temperature(options.temperature);
    all.stop_tokens([])
}

/// Waits until the request of this number arrives.
fn arrive(start: Instant, number: usize, options: &Options) -> Instant {
    let at = start + Duration::from_millis(options.every) * number as u32;
    thread::sleep(at.saturating_duration_since(Instant::now()));
    at
}

fn read(asked: Instant, mut generation: Generation) -> Text {
    let first = generation.next().transpose()?;
    let took = asked.elapsed();
    let rest = generation.collect::<Made<Vec<u32>>>()?;
    Ok((took, first.into_iter().chain(rest).collect()))
}

fn times(start: Instant, texts: Vec<Text>) -> Result<(Times, Vec<Vec<u32>>)> {
    let whole = start.elapsed();
    let texts = texts.into_iter().collect::<Made<Vec<_>>>()?;
    let (firsts, texts): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
    let tokens = texts.iter().map(Vec::len).sum();
    Ok((Times { whole, firsts, tokens }, texts))
}

fn one_after_the_other(
    module: &DecoderModule,
    prompts: &[Vec<u32>],
    options: &Options,
) -> Result<(Times, Vec<Vec<u32>>)> {
    let start = Instant::now();
    let text = |(i, prompt): (usize, &Vec<u32>)| {
        // It waits for those before it.
        let asked = arrive(start, i, options);
        read(asked, module.generate(prompt, &generation(options))?)
    };
    let texts = prompts.iter().enumerate().map(text).collect();
    times(start, texts)
}

fn in_flight(
    module: &DecoderModule,
    prompts: &[Vec<u32>],
    options: &Options,
) -> Result<(Times, Vec<Vec<u32>>)> {
    let batcher = module.continuous(&ContinuousOptions::new().max_queue(prompts.len()))?;
    let start = Instant::now();
    let texts = thread::scope(|scope| {
        let running: Vec<_> = prompts
            .iter()
            .enumerate()
            .map(|(i, prompt)| {
                let asked = arrive(start, i, options);
                let generation = batcher.submit(prompt, &generation(options));
                scope.spawn(move || read(asked, generation?))
            })
            .collect();
        running.into_iter().map(|text| text.join().expect("no panic")).collect()
    });
    let found = times(start, texts)?;
    println!("{:?}", batcher.counters());
    Ok(found)
}
