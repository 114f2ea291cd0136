//! Generations for asynchronous code, without a runtime.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use accelerant::generate::{DecoderOptions, GenerateOptions, GenerationStream};
use accelerant::{ErrorKind, Result};
use futures_core::Stream;

use crate::{compiled, runtimes, tiny};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the next item as a runtime of one thread does.
fn next<T: Send + 'static>(stream: &mut GenerationStream<T>) -> Option<Result<T>> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(poll_fn(|context| Pin::new(&mut *stream).poll_next(context)));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(item) => return item,
            // A waker that is lost would hang: a minute is an error.
            Poll::Pending => thread::park_timeout(Duration::from_secs(60)),
        }
    }
}

pub(crate) fn all<T: Send + 'static>(mut stream: GenerationStream<T>) -> Result<Vec<T>> {
    let items = std::iter::from_fn(|| next(&mut stream)).collect();
    assert!(next(&mut stream).is_none());
    items
}

#[test]
fn a_stream_gives_what_the_iterator_gives() -> Result<()> {
    let letters = |tokens: &[u32]| -> Result<String> {
        Ok(tokens.iter().map(|&token| char::from(b'A' + token as u8)).collect())
    };
    for kind in runtimes() {
        let module = compiled(&tiny()?, DecoderOptions::new(60), kind.clone())?;
        // More items than the stream is ahead.
        let options = GenerateOptions::new().max_tokens(50).temperature(0.8).seed(3);
        let begin = || module.generate(&[4, 2], &options);
        let expected: Vec<u32> = begin()?.collect::<Result<_>>()?;
        assert_eq!(expected.len(), 50);
        assert_eq!(all(begin()?.into_stream())?, expected);
        let text: String = begin()?.text(letters).collect::<Result<_>>()?;
        assert_eq!(all(begin()?.text(letters).into_stream())?.concat(), text);
        let two = compiled(&tiny()?, DecoderOptions::new(60).batch(2), kind)?;
        let rows = two.generate_batch(&[&[1], &[2, 3]], &options)?;
        let expected: Vec<_> = rows.collect::<Result<_>>()?;
        assert_eq!(all(two.generate_batch(&[&[1], &[2, 3]], &options)?.into_stream())?, expected);
    }
    Ok(())
}

#[test]
fn a_stream_that_is_dropped_stops_its_thread_and_failures_are_told() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&tiny()?, DecoderOptions::new(60), kind)?;
    let options = GenerateOptions::new().max_tokens(55);
    let spelled = Arc::new(AtomicUsize::new(0));
    let counted = |spelled: Arc<AtomicUsize>| {
        move |tokens: &[u32]| -> Result<String> {
            spelled.fetch_add(1, SeqCst);
            Ok("a".repeat(tokens.len()))
        }
    };
    // Nothing is done before the stream is asked.
    let stream = module.generate(&[1], &options)?.text(counted(spelled.clone())).into_stream();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(spelled.load(SeqCst), 0);
    drop(stream);
    assert_eq!(Arc::strong_count(&spelled), 1);
    // The thread is 32 items ahead, and goes away with the stream.
    let mut stream = module.generate(&[1], &options)?.text(counted(spelled.clone())).into_stream();
    next(&mut stream).transpose()?;
    drop(stream);
    let gone = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        Arc::strong_count(&spelled) == 1
    });
    assert!(gone, "the thread goes on");
    // Each piece is decoded twice.
    assert!(spelled.load(SeqCst) < 2 * 55, "{spelled:?}");
    let panics = |_: &[u32]| -> Result<String> { panic!("no letters") };
    let mut stream = module.generate(&[1], &options)?.text(panics).into_stream();
    let error = next(&mut stream).expect("an item").expect_err("a panic");
    assert!(
        error.kind() == ErrorKind::Execution && error.to_string().contains("panicked"),
        "{error}"
    );
    assert!(next(&mut stream).is_none());
    Ok(())
}
