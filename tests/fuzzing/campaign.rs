//! Cases in processes of their own, each with a limit of time and of memory, and what became of them as a table.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use accelerant::backend::{Backend as _, ort::Ort};

use super::worker::{END, FAULTY, FIRST, FOLDER, MARK, READER, READERS, SEED};

/// How many cases each reader gets, which readers there are, and where what was found is kept.
const COUNT: &str = "ACCELERANT_FUZZ_COUNT";
const ONLY: &str = "ACCELERANT_FUZZ_ONLY";
const KEEP: &str = "ACCELERANT_FUZZ_KEEP";
const START: &str = "ACCELERANT_FUZZ_START";

/// How long one case may take. Most take a millisecond; another program may have the machine.
const LIMIT: Duration = Duration::from_secs(20);
/// A short campaign, in all.
const SHORT: Duration = Duration::from_secs(15);

fn setting(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn changed_bytes_end_no_process() {
    let (seed, count) = (setting(SEED, 1), setting(COUNT, 150));
    let only = env::var(ONLY).unwrap_or_default();
    let readers = READERS.into_iter().filter(|reader| only.is_empty() || *reader == only);
    let is_short = env::var_os(COUNT).is_none();
    let start = Instant::now();
    let mut found = Vec::new();
    println!("| reader | cases | seconds | found | what became of them |\n|---|---|---|---|---|");
    for reader in readers {
        if reader == "onnxruntime"
            && let Err(reason) = Ort.probe()
        {
            println!("SKIPPED: {reason}");
            continue;
        }
        let end = setting(START, 0) + count;
        let most = is_short.then(|| SHORT.saturating_sub(start.elapsed()) / 2);
        let report = Campaign { reader, seed, end, most, limit: LIMIT }.run(setting(START, 0));
        println!("{report}");
        found.extend(report.found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

struct Campaign {
    reader: &'static str,
    seed: u64,
    end: u64,
    /// Stops early after this.
    most: Option<Duration>,
    /// What a case may take.
    limit: Duration,
}

/// The faults that a campaign is for.
#[test]
fn faults_are_found() {
    let limit = Duration::from_secs(2);
    let campaign = Campaign { reader: FAULTY, seed: 1, end: 10, most: None, limit };
    let report = campaign.run(0);
    let found: Vec<&str> =
        report.found.iter().map(|line| line.strip_prefix("faulty seed 1 ").unwrap()).collect();
    let expected = [
        "case 2: ended: signal: 6 (SIGABRT)",
        "case 4: not done after 2 s",
        "case 5: ended: signal: 6 (SIGABRT): memory allocation of 536870912 bytes failed",
        "case 7: FOUND a panic: asked to",
        "case 8: ended: signal: 4 (SIGILL)",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!((report.cases, report.words["fine"]), (10, 5));
}

#[derive(Default)]
struct Report {
    reader: &'static str,
    cases: u64,
    took: Duration,
    words: BTreeMap<String, u64>,
    found: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.words.iter().map(|(word, n)| format!("{word} {n}")).collect();
        let (reader, cases, took) = (self.reader, self.cases, self.took.as_secs());
        write!(f, "| {reader} | {cases} | {took} | {} | {} |", self.found.len(), words.join(", "))
    }
}

impl Campaign {
    fn run(&self, first: u64) -> Report {
        let start = Instant::now();
        let mut report = Report { reader: self.reader, ..Report::default() };
        let mut next = first;
        while next < self.end {
            let mut worker = Worker::start(self, next);
            next = worker.follow(self, next, start, &mut report);
            if self.most.is_some_and(|most| start.elapsed() > most) {
                break;
            }
        }
        report.took = start.elapsed();
        report
    }

    fn finding(&self, case: u64, what: &str, folder: &Path, report: &mut Report) {
        let place = format!("{} seed {} case {case}", self.reader, self.seed);
        eprintln!("{place}: {what}");
        report.found.push(format!("{place}: {what}"));
        if let Some(kept) = env::var_os(KEEP).map(PathBuf::from) {
            let to = kept.join(format!("{}-{}-{case}", self.reader, self.seed));
            std::fs::create_dir_all(&to).unwrap();
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
            std::fs::write(to.join("what.txt"), what).unwrap();
        }
    }
}

struct Worker {
    child: Child,
    lines: Receiver<String>,
    folder: tempfile::TempDir,
}

impl Worker {
    fn start(campaign: &Campaign, first: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Libraries ask the system for memory themselves.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 12000000; ulimit -c 0; exec \"$@\"", "sh"]);
        command.arg(env::current_exe().unwrap());
        command.args(["--exact", "worker::cases", "--nocapture", "--test-threads=1"]);
        command.env(READER, campaign.reader).env(SEED, campaign.seed.to_string());
        command.env(FIRST, first.to_string()).env(END, campaign.end.to_string());
        command.env(FOLDER, folder.path()).stdout(Stdio::piped());
        let log = std::fs::File::create(folder.path().join("log.txt")).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.filter(|line| line.contains(MARK)).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, folder }
    }

    /// Reads what becomes of the cases from `next` on. The first case that is not done.
    fn follow(
        &mut self,
        campaign: &Campaign,
        mut next: u64,
        start: Instant,
        report: &mut Report,
    ) -> u64 {
        while next < campaign.end {
            match self.lines.recv_timeout(campaign.limit) {
                Ok(line) => {
                    let (_, line) = line.split_once(MARK).unwrap();
                    let (case, word) = line.split_once(' ').unwrap();
                    assert_eq!(case.parse::<u64>(), Ok(next));
                    if word.starts_with("FOUND") {
                        let _ = self.child.wait();
                        campaign.finding(next, word, self.folder.path(), report);
                        report.cases += 1;
                        return next + 1;
                    } else {
                        *report.words.entry(word.to_owned()).or_default() += 1;
                    }
                    if campaign.most.is_some_and(|most| start.elapsed() > most) {
                        next = campaign.end - 1;
                        self.end();
                    }
                }
                Err(reason) => {
                    self.end();
                    let status = self.child.wait().unwrap();
                    let log = std::fs::read(self.folder.path().join("log.txt")).unwrap_or_default();
                    let log = String::from_utf8_lossy(&log).into_owned();
                    let text = log.lines().find(|line| !line.is_empty()).unwrap_or_default();
                    let what = match reason {
                        RecvTimeoutError::Timeout => {
                            format!("not done after {} s", campaign.limit.as_secs())
                        }
                        RecvTimeoutError::Disconnected => format!("ended: {status}: {text}"),
                    };
                    campaign.finding(next, &what, self.folder.path(), report);
                    report.cases += 1;
                    return next + 1;
                }
            }
            report.cases += 1;
            next += 1;
        }
        self.end();
        next
    }

    fn end(&mut self) {
        let _ = self.child.kill();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}
