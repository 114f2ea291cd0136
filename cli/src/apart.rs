//! A model that nobody vouches for is worked on in a process of its own: the same program, started once more. A parser
//! or a runtime that dies then ends that process alone, and this one tells the file, the work and the node. Work with a
//! limit of time is done there too, since no other way ends every parser and runtime.
//!
//! The two share a socket, which is the child's standard input. The child writes what it is at, a line each; it ends
//! when its parent has gone.

use std::{path::Path, time::Duration};

use crate::describe;
use crate::fail::{Code, Failure, Result};

/// What the child was at last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    work: String,
    node: String,
    /// A model runs, and was not refused.
    runs: bool,
}

impl Place {
    /// Takes a line of the child.
    fn read(&mut self, line: &str) {
        match line.split_once(' ') {
            Some((kind @ ("work" | "runs"), work)) => {
                *self = Self { work: work.into(), node: String::new(), runs: kind == "runs" };
            }
            Some(("node", node)) => self.node = node.into(),
            _ => {}
        }
    }

    /// Where it was.
    fn at(&self) -> String {
        let Self { work, node, .. } = self;
        let mut text = String::new();
        if !work.is_empty() {
            text += &format!(", at: {work}");
        }
        if !node.is_empty() {
            text += &format!(", node {node}");
        }
        text
    }

    /// The work took too long.
    fn late(&self, path: &Path, time: Duration) -> Failure {
        let text = format!("{}: not done within {time:?} (--timeout){}", path.display(), self.at());
        Failure::with_code(Code::TimedOut, text)
    }

    /// Why there is no result.
    fn died(&self, path: &Path, signal: i32, most: Option<u64>) -> Failure {
        // What runtimes do where memory is out.
        let bound = most.filter(|_| signal == 6).map(|most| {
            let most = describe::bytes(most);
            format!("; the process may take {most} of memory, and more with --trusted")
        });
        let text = format!(
            "{}: the process that worked on the model was ended by signal {signal}{}{}{}",
            path.display(),
            named(signal),
            self.at(),
            bound.unwrap_or_default()
        );
        // Those that others send say nothing of the model, and a model that runs was not refused.
        match signal {
            _ if self.runs => Failure::failed(text),
            1 | 2 | 9 | 15 | 24 | 25 => Failure::failed(text),
            _ => Failure::with_code(Code::Refused, text),
        }
    }
}

fn named(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL; memory may have run out)",
        11 => " (SIGSEGV)",
        24 => " (SIGXCPU; the process may take no more time)",
        25 => " (SIGXFSZ; a file may not become so large)",
        _ => "",
    }
}

/// The node that TensorRT's parser says it begins with.
fn node_in(message: &str) -> Option<&str> {
    let message = message.rsplit_once("Parsing node: ")?.1;
    Some(message.trim())
}

#[cfg(unix)]
pub(crate) use unix::{nodes, run, runs, watch, work};

#[cfg(unix)]
mod unix {
    use std::{
        env,
        fmt::Write as _,
        io::{BufRead, BufReader, Read, Write},
        net::Shutdown,
        os::{
            fd::{AsFd, OwnedFd},
            unix::{net::UnixStream, process::ExitStatusExt},
        },
        process::{Child, ExitStatus, Stdio, exit},
        sync::{
            Mutex, OnceLock, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use tracing::{Metadata, subscriber::Interest};
    use tracing_subscriber::{
        filter::dynamic_filter_fn,
        layer::{Context, Layer},
        registry::LookupSpan,
    };

    use super::*;
    use crate::bound;

    /// Of the child: where lines go.
    static PARENT: OnceLock<Mutex<UnixStream>> = OnceLock::new();
    /// Whether a parser may be at work, whose messages name nodes.
    static PARSING: AtomicBool = AtomicBool::new(false);

    /// So often a child with a limit of time is looked at.
    const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

    /// Runs this very command in a child for as long as `limit` allows, and gives its exit code.
    /// It may take `most` bytes of memory.
    pub(crate) fn run(path: &Path, limit: Option<Duration>, most: Option<u64>) -> Result<u8> {
        let cannot = |e: std::io::Error| {
            Failure::failed(format!(
                "{}: a process of its own cannot be started ({e}); --trusted does without",
                path.display()
            ))
        };
        let (ours, childs) = UnixStream::pair().map_err(cannot)?;
        let mut command = bound::command(most).map_err(cannot)?;
        command
            .arg("--apart")
            .args(env::args_os().skip(1))
            .stdin(Stdio::from(OwnedFd::from(childs)));
        let mut child = command.spawn().map_err(cannot)?;
        // It holds the child's end of the socket.
        drop(command);
        let reader = ours.try_clone().map_err(cannot)?;
        let lines = thread::spawn(move || {
            let mut place = Place::default();
            // Names of nodes are whatever bytes the file has.
            for line in BufReader::new(reader).split(b'\n') {
                let Ok(line) = line else { break };
                place.read(&String::from_utf8_lossy(&line));
            }
            place
        });
        let status = wait(&mut child, limit).map_err(cannot)?;
        // A process that the child left behind may hold the other end.
        let _ = ours.shutdown(Shutdown::Both);
        let place = lines.join().unwrap_or_default();
        let status = match (status, limit) {
            (Some(status), _) => status,
            (None, limit) => return Err(place.late(path, limit.unwrap_or_default())),
        };
        match (status.signal(), status.code()) {
            (Some(signal), _) => Err(place.died(path, signal, most)),
            (None, code) => {
                let known = code.and_then(|code| u8::try_from(code).ok());
                // Others are of the shell, or of a library that ends the process.
                known.filter(|&code| code <= Code::TimedOut as u8).ok_or_else(|| {
                    let code = code.map(|code| format!(" with code {code}")).unwrap_or_default();
                    let text = format!("the process that worked on the model ended{code}");
                    Failure::failed(format!("{}: {text}{}", path.display(), place.at()))
                })
            }
        }
    }

    /// Waits for a child. One that is not done in time is ended, and has no status.
    fn wait(child: &mut Child, limit: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
        let Some(limit) = limit else { return child.wait().map(Some) };
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            thread::sleep(left.min(BETWEEN_LOOKS));
        }
    }

    /// In the child: takes the socket, and ends with the parent.
    pub(crate) fn watch() {
        let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
            return;
        };
        let Ok(mut reader) = socket.try_clone() else { return };
        // Started by hand, with a file or a terminal as input.
        if reader.peer_addr().is_err() {
            return;
        }
        if PARENT.set(Mutex::new(socket)).is_ok() {
            thread::spawn(move || {
                let _ = reader.read(&mut [0]);
                exit(1);
            });
        }
    }

    fn tell(kind: &str, text: &str) {
        let Some(parent) = PARENT.get() else { return };
        let line = format!("{kind} {}\n", text.replace('\n', " "));
        let mut parent = parent.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = parent.write_all(line.as_bytes());
    }

    /// Says what comes next. `parses` says that a parser is at work, which names the nodes it comes to.
    pub(crate) fn work(text: &str, parses: bool) {
        PARSING.store(parses, Ordering::Relaxed);
        tell("work", text);
    }

    /// Says that the model runs from now on.
    pub(crate) fn runs(text: &str) {
        PARSING.store(false, Ordering::Relaxed);
        tell("runs", text);
    }

    /// Hears the parser name its nodes.
    struct Nodes;

    /// What hears the parser name its nodes, and only while it is at work, since the builder says much.
    pub(crate) fn nodes<S>() -> impl Layer<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + 'static,
    {
        let parser = |metadata: &Metadata<'_>| metadata.target() == "accelerant::tensorrt";
        let at_work = move |metadata: &Metadata<'_>, _: &Context<'_, S>| {
            parser(metadata) && PARSING.load(Ordering::Relaxed)
        };
        let filter = dynamic_filter_fn(at_work).with_callsite_filter(move |metadata| {
            if parser(metadata) { Interest::sometimes() } else { Interest::never() }
        });
        Nodes.with_filter(filter)
    }

    struct Message(String);

    impl tracing::field::Visit for Message {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                let _ = write!(self.0, "{value:?}");
            }
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Nodes {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            if let Some(node) = node_in(&message.0) {
                tell("node", node);
            }
        }
    }
}

/// Elsewhere a model is worked on in this process.
#[cfg(not(unix))]
pub(crate) fn work(_: &str, _: bool) {}

/// Elsewhere a model is worked on in this process.
#[cfg(not(unix))]
pub(crate) fn runs(_: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_the_file_the_work_and_the_node() {
        let mut place = Place::default();
        for line in ["work check", "node old [Relu]", "work parse", "node a b [Attention]", "odd"] {
            place.read(line);
        }
        let text = place.died(Path::new("m.onnx"), 11, None).to_string();
        assert_eq!(
            text,
            "m.onnx: the process that worked on the model was ended by signal 11 (SIGSEGV), at: parse, node a b [Attention]"
        );
        place.read("runs run");
        let failure = place.died(Path::new("m.onnx"), 11, None);
        assert_eq!(failure.code, Code::Failed);
        assert!(failure.to_string().ends_with("(SIGSEGV), at: run"), "{failure}");
        place.read("work compare");
        assert_eq!(place.died(Path::new("m.onnx"), 6, None).code, Code::Refused);
        let told = place.died(Path::new("m.onnx"), 6, Some(6 << 30)).to_string();
        assert!(told.ends_with("may take 6.0 GiB of memory, and more with --trusted"), "{told}");
        let killed = Place::default().died(Path::new("m.onnx"), 15, None);
        assert_eq!(killed.code, Code::Failed);
    }

    #[test]
    fn the_parsers_message_names_the_node() {
        assert_eq!(node_in("Parsing node: /a/Relu [Relu]"), Some("/a/Relu [Relu]"));
        assert_eq!(node_in("Searching for input: x"), None);
    }
}
