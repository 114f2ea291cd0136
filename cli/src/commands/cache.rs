//! `accelerant cache`: the engines that were built once.

use std::{path::PathBuf, time::SystemTime};

use accelerant::cache::{DEFAULT_SIZE_LIMIT, EngineCache, Entry, Removed, Timings};
use clap::Subcommand;
use serde_json::{Value, json};

use super::Output;
use crate::describe;
use crate::fail::{Code, Failure, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder; by default the user's
    #[arg(long = "cache", value_name = "FOLDER", global = true)]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the engines, what was used longest ago first
    #[command(alias = "list")]
    Ls,
    /// Remove leftovers, and what was not used for longest until the rest keeps the limit
    Gc {
        /// The most bytes, such as 500M or 10G; by default 10G
        #[arg(long, value_name = "BYTES", value_parser = size)]
        limit: Option<u64>,
    },
    /// Read every engine whole and check it
    Verify,
    /// Remove all that nobody works on
    Clear,
}

pub(crate) fn run(args: &Args) -> Result<Output> {
    // A folder that the environment names is no part of the command line.
    work(args).map_err(|failure| match args.folder {
        Some(_) => failure,
        None => failure.not_of_the_line(),
    })
}

fn work(args: &Args) -> Result<Output> {
    let cache = match &args.folder {
        Some(folder) => EngineCache::at(folder),
        None => EngineCache::new(),
    };
    let Some(folder) = cache.folder() else {
        if let Some(why) = why_none() {
            return Err(Failure::usage(why));
        }
        let text = "the cache is off (ACCELERANT_ENGINE_CACHE)\n";
        return Ok(Output::new(text, json!({ "folder": null, "entries": [] })));
    };
    match &args.action {
        Action::Ls => {
            let (entries, timings) = (cache.entries()?, cache.timings()?);
            let total = bytes_of(&entries, &timings);
            // Models that one tool wrote have one name: their inputs tell them apart.
            let tensors = |entry: &Entry| {
                let about = entry.about.as_ref();
                about.map_or(String::new(), |about| format!("              {}\n", about.signature))
            };
            let lines: String =
                entries.iter().map(|entry| line(entry) + "\n" + &tensors(entry)).collect();
            let timed: String =
                timings.iter().map(|timings| timings_line(timings) + "\n").collect();
            let place = folder.display().to_string();
            let text =
                format!("{lines}{timed}{}\n", sum(entries.len(), timings.len(), total, &place));
            let list: Vec<Value> = entries.iter().map(entry_json).collect();
            let timings: Vec<Value> = timings.iter().map(timings_json).collect();
            let json = json!({
                "folder": folder, "bytes": total, "entries": list, "timings": timings
            });
            Ok(Output::new(text, json))
        }
        Action::Gc { limit } => {
            let limit = limit.unwrap_or(DEFAULT_SIZE_LIMIT);
            let mut output = removed(cache.clone().size_limit(limit).collect()?, &folder);
            let (kept, timings) = (cache.entries()?, cache.timings()?);
            let bytes = bytes_of(&kept, &timings);
            let (what, most) = (files(kept.len(), timings.len()), describe::bytes(limit));
            output.text += &format!("kept {what}, {} of at most {most}\n", describe::bytes(bytes));
            output.json["kept"] = json!({
                "engines": kept.len(), "timings": timings.len(), "bytes": bytes, "limit": limit
            });
            Ok(output)
        }
        Action::Clear => Ok(removed(cache.clear()?, &folder)),
        Action::Verify => {
            let (mut text, mut rows, mut damaged) = (String::new(), Vec::new(), 0);
            for (entry, checked) in cache.verify()? {
                let reason = checked.err().map(|e| e.to_string());
                let verdict =
                    reason.as_ref().map_or("whole".to_owned(), |e| format!("DAMAGED: {e}"));
                text += &format!("{}  {verdict}\n", line(&entry));
                damaged += usize::from(reason.is_some());
                let mut row = entry_json(&entry);
                row["damaged"] = json!(reason);
                rows.push(row);
            }
            text += &format!("{} of {} engines are whole\n", rows.len() - damaged, rows.len());
            let timings = cache.timings()?;
            for timings in &timings {
                let verdict = timings.damaged.as_ref();
                let verdict = verdict.map_or("whole".to_owned(), |e| format!("DAMAGED: {e}"));
                text += &format!("{}  {verdict}\n", timings_line(timings));
                damaged += usize::from(timings.damaged.is_some());
            }
            let timings: Vec<Value> = timings.iter().map(timings_json).collect();
            let failure = (damaged > 0).then(|| {
                let text = format!("{damaged} damaged; each is built anew when it is wanted");
                Failure::with_code(Code::Failed, text)
            });
            let json = json!({ "folder": folder, "entries": rows, "timings": timings });
            Ok(Output { text, json, failure })
        }
    }
}

/// Why the user's cache has no folder; `None` if it is switched off.
pub(crate) fn why_none() -> Option<String> {
    const VARIABLE: &str = "ACCELERANT_ENGINE_CACHE";
    match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(value) if value == "off" || value == "0" => None,
        Some(value) => Some(format!("{VARIABLE}={} is not an absolute path", value.display())),
        None => {
            Some(accelerant_sdk::cache_folder().err().unwrap_or("no home folder is known".into()))
        }
    }
}

fn removed(removed: Removed, folder: &std::path::Path) -> Output {
    let Removed { engines, timings, bytes, .. } = removed;
    let text = format!("removed {}\n", sum(engines, timings, bytes, &folder.display().to_string()));
    Output::new(text, json!({ "folder": folder, "removed": removed }))
}

/// The bytes of all files.
pub(crate) fn bytes_of(entries: &[Entry], timings: &[Timings]) -> u64 {
    let of_engines = entries.iter().map(|entry| entry.bytes);
    of_engines.chain(timings.iter().map(|timings| timings.bytes)).sum()
}

fn sum(engines: usize, timings: usize, bytes: u64, folder: &str) -> String {
    format!("{}, {}, in {folder}", files(engines, timings), describe::bytes(bytes))
}

/// How many there are of both.
pub(crate) fn files(engines: usize, timings: usize) -> String {
    let s = |count| if count == 1 { "" } else { "s" };
    let timed = match timings {
        0 => String::new(),
        count => format!(" and {count} timing cache{}", s(count)),
    };
    format!("{engines} engine{}{timed}", s(engines))
}

fn line(entry: &Entry) -> String {
    let key = &entry.key[..entry.key.len().min(12)];
    let about = match &entry.about {
        Some(about) => {
            format!("{} {} for {}: {}", about.kind, about.library, about.target, about.model())
        }
        None => "its header is damaged".into(),
    };
    let used = entry.used.elapsed().unwrap_or_default();
    let size = describe::bytes(entry.bytes);
    format!("{key}  {size:>10}  used {:>8} ago  {about}", ago(used))
}

fn timings_line(timings: &Timings) -> String {
    let name = timings.path.file_name().unwrap_or_default().to_string_lossy();
    let about = match &timings.damaged {
        Some(_) => "damaged".into(),
        None => format!("{} on {}", timings.library, timings.device),
    };
    let (size, used) = (describe::bytes(timings.bytes), timings.used.elapsed().unwrap_or_default());
    let key: String = name.chars().take(12).collect();
    format!("{key}  {size:>10}  used {:>8} ago  timing cache: {about}", ago(used))
}

fn ago(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn entry_json(entry: &Entry) -> Value {
    let used = entry.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    json!({
        "key": entry.key,
        "path": entry.path,
        "bytes": entry.bytes,
        "usedUnixSeconds": used.as_secs(),
        "about": entry.about,
    })
}

fn timings_json(timings: &Timings) -> Value {
    let used = timings.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    json!({
        "path": timings.path,
        "bytes": timings.bytes,
        "usedUnixSeconds": used.as_secs(),
        "library": timings.library,
        "device": timings.device,
        "damaged": timings.damaged,
    })
}

/// A number of bytes with K, M, G or T, in powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let number = upper.trim_end_matches("IB").trim_end_matches('B');
    let (digits, power) = match number.char_indices().last() {
        Some((at, unit)) => match "KMGT".find(unit) {
            Some(place) => (&number[..at], 10 * (place as u32 + 1)),
            None => (number, 0),
        },
        None => (number, 0),
    };
    let count = digits.trim().parse::<u64>().ok();
    let bytes = count.and_then(|count| count.checked_mul(1 << power));
    bytes.ok_or_else(|| format!("`{text}` is no number of bytes, such as 500M or 10G"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_unit() {
        let rows =
            [("0", 0), ("12", 12), ("5k", 5 << 10), ("500M", 500 << 20), ("10GiB", 10 << 30)];
        for (text, expected) in rows {
            assert_eq!(size(text), Ok(expected));
        }
        for text in ["", "G", "1.5G", "-1", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
