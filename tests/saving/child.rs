//! Saves in a process of its own: this test binary, asked for one test.

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::versions::KINDS;

const KIND: &str = "ACCELERANT_SAVING_KIND";
const PATH: &str = "ACCELERANT_SAVING_PATH";
const FIRST: &str = "ACCELERANT_SAVING_FIRST";
const COUNT: &str = "ACCELERANT_SAVING_COUNT";

/// A process that saves to `path` the versions from `first` on, one after the other. Before each it writes a line.
pub(crate) fn saver(
    binary: &Path,
    kind: &str,
    path: &Path,
    first: u32,
    count: u32,
) -> (PathBuf, Vec<OsString>, Vec<(&'static str, OsString)>) {
    let arguments = ["--exact", "child::saver_of_versions", "--nocapture", "--test-threads=1"];
    let variables = vec![
        (KIND, kind.into()),
        (PATH, path.into()),
        (FIRST, first.to_string().into()),
        (COUNT, count.to_string().into()),
    ];
    (binary.to_owned(), arguments.map(OsString::from).to_vec(), variables)
}

pub(crate) fn command(kind: &str, path: &Path, first: u32, count: u32) -> Command {
    let binary = env::current_exe().unwrap();
    let (binary, arguments, variables) = saver(&binary, kind, path, first, count);
    let mut command = Command::new(binary);
    command.args(arguments).envs(variables);
    command
}

/// Does what such a process is for; nothing when no test asked.
#[test]
fn saver_of_versions() {
    let (Ok(kind), Some(path)) = (env::var(KIND), env::var_os(PATH)) else { return };
    let number = |name: &str| env::var(name).unwrap().parse::<u32>().unwrap();
    let kind = KINDS.into_iter().find(|known| known.name() == kind).unwrap();
    for version in number(FIRST)..number(FIRST) + number(COUNT) {
        println!("saving: {version}");
        std::io::stdout().flush().unwrap();
        match kind.save(version, Path::new(&path)) {
            Ok(()) => println!("saved: {version}"),
            Err(error) => println!("refused: {:?}: {error}", error.kind()),
        }
    }
}
