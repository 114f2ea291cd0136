//! Which build of this crate runs. What a pass made of a model is known for the same code alone, and the version of the
//! crate stays while its code changes.

use std::sync::OnceLock;

/// A text that another build has not, or `None` where the system does not tell.
pub(super) fn identity() -> Option<&'static str> {
    static IDENTITY: OnceLock<Option<String>> = OnceLock::new();
    IDENTITY.get_or_init(of_this_process).as_deref()
}

/// The file that this code was loaded from, which is a program or a library, by what no writer can set back: its inode and
/// the time when its data or names changed last.
#[cfg(target_os = "linux")]
fn of_this_process() -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = mapped_at(&maps, of_this_process as *const () as usize)?;
    // A file that is gone ends in ` (deleted)` here, and cannot be asked.
    let found = std::fs::metadata(path).ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    let version = env!("CARGO_PKG_VERSION");
    Some(format!("{version} {} {} {times:?}", found.ino(), found.size()))
}

#[cfg(not(target_os = "linux"))]
fn of_this_process() -> Option<String> {
    None
}

/// The path of the file that is mapped at an address, of the lines of `/proc/self/maps`.
#[cfg(target_os = "linux")]
fn mapped_at(maps: &str, address: usize) -> Option<&str> {
    let hexadecimal = |text| usize::from_str_radix(text, 16).ok();
    maps.lines().find_map(|line| {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let holds = (hexadecimal(start)?..hexadecimal(end)?).contains(&address);
        let path = &line[line.find('/')?..];
        holds.then_some(path)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_the_file_that_runs() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = mapped_at(&maps, identity as *const () as usize).unwrap();
        assert_eq!(path, std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(identity(), of_this_process().as_deref());
        assert!(identity().unwrap().starts_with(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_line_of_the_address_counts() {
        let maps = "1000-2000 r--p 00000000 08:01 12 /usr/bin/with a space\n\
                    2000-3000 r-xp 00001000 08:01 12 /usr/bin/with a space\n\
                    3000-4000 rw-p 00000000 00:00 0 \n\
                    7000-8000 r-xp 00000000 08:01 13 /lib/gone.so (deleted)\n";
        assert_eq!(mapped_at(maps, 0x2fff), Some("/usr/bin/with a space"));
        assert_eq!(mapped_at(maps, 0x3000), None);
        assert_eq!(mapped_at(maps, 0x7001), Some("/lib/gone.so (deleted)"));
        assert_eq!(mapped_at(maps, 0x8000), None);
    }
}
