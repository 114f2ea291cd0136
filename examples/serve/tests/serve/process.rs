//! A server that runs while a test does.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Answer, Client};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Process {
    child: Child,
    address: String,
    /// What it wrote after the address.
    rest: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts a server with these arguments, on a free port.
    pub(crate) fn start<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::start_with(args, &[])
    }

    /// The same, with variables of the environment.
    pub(crate) fn start_with<S: AsRef<str>>(
        args: impl IntoIterator<Item = S>,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant-serve"));
        command.envs(variables.iter().copied());
        command.args(["--port", "0"]).stdout(Stdio::piped()).stdin(Stdio::null());
        for arg in args {
            command.arg(arg.as_ref());
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server did not start");
            if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
                break address.to_owned();
            }
        };
        let rest = thread::spawn(move || {
            let mut rest = String::new();
            lines.read_to_string(&mut rest).unwrap();
            rest
        });
        Self { child, address, rest: Some(rest) }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address).unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().get(path).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.client().post(path, body.as_ref()).unwrap()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        let page = self.get("/metrics").text();
        let found = page.lines().find_map(|own| own.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no `{line}` in\n{page}")).parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub(crate) fn until(&self, line: &str, wanted: f64) {
        let start = Instant::now();
        while self.metric(line) != wanted {
            assert!(start.elapsed() < LONG, "`{line}` is {}, not {wanted}", self.metric(line));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the end after [`terminate`](Self::terminate), which must be a good one: how many requests it accepted.
    pub(crate) fn ended(self) -> u64 {
        let (status, rest) = self.end();
        assert!(status.success(), "{status}\n{rest}");
        let number = rest
            .lines()
            .find_map(|line| line.strip_prefix("ended: ")?.strip_suffix(" requests were accepted"));
        number.unwrap_or_else(|| panic!("no last line in\n{rest}")).parse().unwrap()
    }

    /// Waits for the end, and gives what the server printed.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(start.elapsed() < LONG, "the server does not end"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        (status, self.rest.take().unwrap().join().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
