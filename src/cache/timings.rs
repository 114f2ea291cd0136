//! What backends measured while they built: the files in the folder, for people.

use std::{path::PathBuf, time::SystemTime};

use super::entry::Group;
use crate::backend::Content;

/// The kernel timings that one version of a library measured on one device. The next build with this library on this
/// device measures less.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// The file.
    pub path: PathBuf,
    /// The bytes of the file and of all that is kept beside it.
    pub bytes: u64,
    /// The time of the last use, by a clock that never goes back.
    pub used: SystemTime,
    /// The library and its exact version; empty if the file is damaged.
    pub library: String,
    /// The device; empty if the file is damaged.
    pub device: String,
    /// The fault of the file. The next build that writes the file sets the damaged file aside.
    pub damaged: Option<String>,
}

impl Timings {
    /// `None` for the files of an engine, and for a file that is gone meanwhile.
    pub(super) fn of(group: &Group) -> Option<Self> {
        let path = group.timings()?.to_owned();
        let (library, device, damaged) = match Content::read(&path) {
            Ok(content) => {
                let content = content?;
                (content.library, content.device, None)
            }
            Err(why) => (String::new(), String::new(), Some(why)),
        };
        let (bytes, used) = (group.bytes, group.used);
        Some(Self { path, bytes, used, library, device, damaged })
    }
}
