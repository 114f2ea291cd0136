//! Archives of a bundle: tar and xz, split into parts, with a manifest. What goes into them is the
//! caller's business, how they are joined is `run.sh`'s.

use accelerant_sdk::install::hash;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// For what is compressed once and carried often: 230 MB of TensorRT-RTX become 60 MB in 5 minutes.
pub(super) const BEST: &str = "--lzma2=preset=9e,dict=256MiB";
/// For what changes with every build. The large dictionary sees what the binaries have in common.
pub(super) const QUICK: &str = "--lzma2=preset=1,dict=256MiB";

/// Packs the named files of a folder, without the folder.
pub(super) fn compress(folder: &Path, names: &[String], lzma2: &str, target: &Path) -> Result<()> {
    let out = File::create(target).with_context(|| format!("creating {}", target.display()))?;
    let mut tar = Command::new("tar")
        .args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "-cf",
            "-",
        ])
        .arg("-C")
        .arg(folder)
        .args(names)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting tar")?;
    let packed = tar.stdout.take().context("tar has no output")?;
    let xz = Command::new("xz")
        .args(["--format=xz", "--check=crc64", "--x86", lzma2, "--stdout"])
        .stdin(packed)
        .stdout(out)
        .status()
        .context("starting xz (is it installed?)");
    let tar = tar.wait()?;
    ensure!(xz?.success() && tar.success(), "packing {} failed", folder.display());
    Ok(())
}

/// Cuts an archive into `NAME.tar.xz.00`, `.01` … and writes `NAME.tar.xz.manifest`: a first line
/// with the hash of the whole, then one line for each part, as `sha256sum` writes and reads them.
pub(super) fn split(archive: &Path, folder: &Path, name: &str, part_size: u64) -> Result<()> {
    remove(folder, name)?;
    let length =
        archive.metadata().with_context(|| format!("reading {}", archive.display()))?.len();
    let parts = length.div_ceil(part_size).max(1);
    ensure!(parts <= 100, "{name}: {parts} parts are more than two digits can number");
    let mut source = File::open(archive)?;
    let mut manifest = format!("# {} {parts} parts\n", hash::file(archive)?);
    for number in 0..parts {
        let part = format!("{name}.tar.xz.{number:02}");
        let path = folder.join(&part);
        File::create(&path)
            .and_then(|mut file| io::copy(&mut (&mut source).take(part_size), &mut file))
            .with_context(|| format!("writing {}", path.display()))?;
        manifest.push_str(&format!("{}  {part}\n", hash::file(&path)?));
    }
    let path = folder.join(format!("{name}.tar.xz.manifest"));
    fs::write(&path, manifest).with_context(|| format!("writing {}", path.display()))
}

/// Removes what an earlier bundle left of an archive.
pub(super) fn remove(folder: &Path, name: &str) -> Result<()> {
    let prefix = format!("{name}.tar.xz.");
    for entry in folder.read_dir().with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let path = entry.path();
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use tempfile::TempDir;

    #[test]
    fn parts_join_to_the_archive_and_old_ones_go() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let archive = dir.path().join("whole");
        fs::write(&archive, "0123456789")?;
        for (part_size, sizes) in [(3, vec![3, 3, 3, 1]), (5, vec![5, 5]), (99, vec![10])] {
            split(&archive, dir.path(), "x", part_size)?;
            let part = |number: usize| dir.path().join(format!("x.tar.xz.{number:02}"));
            let parts = (0..sizes.len()).map(|number| fs::read(part(number)));
            let parts = parts.collect::<io::Result<Vec<_>>>()?;
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            assert_eq!(parts.concat(), b"0123456789");
            assert!(!part(sizes.len()).exists());
            let manifest = fs::read_to_string(dir.path().join("x.tar.xz.manifest"))?;
            assert_eq!(manifest.lines().count(), sizes.len() + 1);
            assert!(manifest.contains(&hash::file(&archive)?));
        }
        Ok(())
    }

    /// A bundle of two shell scripts in several parts, and where it is unpacked.
    struct Bundle {
        dir: TempDir,
    }

    impl Bundle {
        /// None, and the reason in print, where xz is missing.
        fn new() -> Result<Option<Self>> {
            if Command::new("xz").arg("--version").output().is_err() {
                eprintln!("skipped: no `xz` to make an archive with");
                return Ok(None);
            }
            let bundle = Self { dir: tempfile::tempdir()? };
            let (bin, archive) = (bundle.path("bin"), bundle.path("bin.tar.xz"));
            fs::create_dir(&bin)?;
            fs::create_dir(bundle.path("out"))?;
            let script = "#!/bin/sh\necho good $1 ${TENSORRT_RTX_ROOT:-none}\n";
            // Something that xz cannot make small, so that there is more than one part.
            let noise: String = (0u64..200).map(|i| format!("#{}\n", i.pow(7) % 999_983)).collect();
            let files = [
                ("good", format!("{script}{noise}")),
                ("bad", "#!/bin/sh\nexit 7\n".to_owned()),
                ("libraries", "#!/bin/sh\necho \"libraries [$LD_LIBRARY_PATH]\"\n".to_owned()),
                ("tests.list", "good\nbad\n".to_owned()),
            ];
            for (name, text) in &files {
                fs::write(bin.join(name), text)?;
                #[cfg(unix)]
                fs::set_permissions(
                    bin.join(name),
                    std::os::unix::fs::PermissionsExt::from_mode(0o755),
                )?;
            }
            compress(&bin, &files.map(|(name, _)| name.to_owned()), "--lzma2=preset=1", &archive)?;
            split(&archive, &bundle.path("out"), "bin", 300)?;
            crate::bundle::write_script(&bundle.path("out/run.sh"))?;
            Ok(Some(bundle))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Exit status and everything said.
        fn run(&self, args: &[&str]) -> Result<(Option<i32>, String)> {
            let output = Command::new("bash")
                .arg(self.path("out/run.sh"))
                .args(args)
                .env("ACCELERANT_BUNDLE_DIR", self.path("there"))
                .env_remove("TENSORRT_RTX_ROOT")
                .output()?;
            let said = [output.stdout, output.stderr].concat();
            Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
        }
    }

    #[test]
    fn a_whole_bundle_runs_its_binaries() -> Result<()> {
        let Some(bundle) = Bundle::new()? else {
            return Ok(());
        };
        let (status, said) = bundle.run(&["good", "word"])?;
        assert_eq!((status, said.contains("good word none")), (Some(0), true), "{said}");
        let (status, said) = bundle.run(&["--list"])?;
        assert_eq!((status, said.as_str()), (Some(0), "bad\ngood\nlibraries\n"));
        let (status, said) = bundle.run(&["--all-tests"])?;
        assert_eq!((status, said.contains("1 of 2 failed: bad")), (Some(1), true), "{said}");
        let (status, said) = bundle.run(&["none"])?;
        assert_eq!((status, said.contains("no binary")), (Some(2), true), "{said}");
        Ok(())
    }

    #[test]
    fn parts_may_come_in_several_trips() -> Result<()> {
        let Some(bundle) = Bundle::new()? else {
            return Ok(());
        };
        let (first, later) = (bundle.path("out/bin.tar.xz.00"), bundle.path("later"));
        assert!(bundle.path("out/bin.tar.xz.01").is_file());
        fs::rename(&first, &later)?;
        let (status, said) = bundle.run(&["--unpack"])?;
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("missing: bin.tar.xz.00"), "{said}");
        let (status, _) = bundle.run(&["good"])?;
        assert_eq!(status, Some(3));
        assert!(!bundle.path("there/bin").exists());
        // The second trip brings what was missing, and nothing else.
        for entry in bundle.path("out").read_dir()? {
            let path = entry?.path();
            if path.to_string_lossy().contains(".tar.xz.0") {
                fs::remove_file(path)?;
            }
        }
        fs::rename(&later, &first)?;
        let (status, said) = bundle.run(&["good"])?;
        assert_eq!(status, Some(0), "{said}");
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn the_usual_folder_is_private() -> Result<()> {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
        // Of nobody's, on all systems that tests run on.
        const OTHER: u32 = 65534;
        let Some(bundle) = Bundle::new()? else {
            return Ok(());
        };
        let user = bundle.dir.path().metadata()?.uid();
        let [usual, theirs] = [format!("accelerant-bundle-{user}"), "theirs".into()]
            .map(|name| bundle.path("tmp").join(name));
        fs::create_dir(bundle.path("tmp"))?;
        let run = || -> Result<(Option<i32>, String)> {
            let mut script = Command::new("bash");
            script.arg(bundle.path("out/run.sh")).args(["libraries"]);
            script.env("TMPDIR", bundle.path("tmp")).env_remove("ACCELERANT_BUNDLE_DIR");
            let output = script.env("LD_LIBRARY_PATH", ":/a::/b:").output()?;
            let said = [output.stdout, output.stderr].concat();
            Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
        };
        for _ in 0..2 {
            let (status, said) = run()?;
            assert_eq!(status, Some(0), "{said}");
            assert!(said.contains("libraries [/a:/b]") || said.contains("cuda/lib64:/a:/b]"));
            assert_eq!(usual.metadata()?.mode() & 0o777, 0o700);
        }
        for refused in ["open", "link", "file", "of another user"] {
            fs::remove_dir_all(&usual).or_else(|_| fs::remove_file(&usual))?;
            match refused {
                "of another user" => {
                    fs::create_dir_all(usual.join("bin"))?;
                    // What would run, were it taken.
                    fs::write(usual.join("bin/libraries"), "#!/bin/sh\necho taken\n")?;
                    fs::set_permissions(&usual, fs::Permissions::from_mode(0o700))?;
                    if let Err(reason) = chown(&usual, Some(OTHER), None) {
                        eprintln!("skipped: a folder of another user cannot be made ({reason})");
                        continue;
                    }
                }
                "open" => {
                    fs::create_dir(&usual)?;
                    fs::set_permissions(&usual, fs::Permissions::from_mode(0o770))?;
                }
                "link" => {
                    fs::create_dir(&theirs)?;
                    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700))?;
                    symlink(&theirs, &usual)?;
                }
                _ => fs::write(&usual, "")?,
            }
            let (status, said) = run()?;
            assert_eq!((status, said.contains("this user's alone")), (Some(4), true), "{said}");
            assert!(!said.contains("taken") && !usual.join("bin.unpacked").exists(), "{refused}");
        }
        Ok(())
    }

    #[test]
    fn a_damaged_part_is_refused() -> Result<()> {
        let Some(bundle) = Bundle::new()? else {
            return Ok(());
        };
        fs::write(bundle.path("out/bin.tar.xz.00"), "junk")?;
        let (status, said) = bundle.run(&["good"])?;
        assert_eq!((status, said.contains("bin.tar.xz.00 is damaged")), (Some(3), true), "{said}");
        Ok(())
    }

    #[test]
    fn an_archive_that_does_not_unpack_is_no_success() -> Result<()> {
        let Some(bundle) = Bundle::new()? else {
            return Ok(());
        };
        let junk = bundle.path("junk");
        fs::write(&junk, "junk")?;
        split(&junk, &bundle.path("out"), "bin", 300)?;
        for _ in 0..2 {
            assert_ne!(bundle.run(&["good"])?.0, Some(0));
            assert!(!bundle.path("there/bin").exists());
        }
        Ok(())
    }

    #[test]
    fn a_library_archive_becomes_the_sdk_root() -> Result<()> {
        let Some(bundle) = Bundle::new()? else {
            return Ok(());
        };
        fs::write(bundle.path("libx.so"), "x")?;
        let archive = bundle.path("sdk.tar.xz");
        compress(bundle.dir.path(), &["libx.so".to_owned()], "--lzma2=preset=1", &archive)?;
        split(&archive, &bundle.path("out"), "sdk", 1 << 20)?;
        let (status, said) = bundle.run(&["good", "word"])?;
        let root = bundle.path("there/sdk");
        assert!(said.contains(&format!("good word {}", root.display())), "{status:?} {said}");
        assert!(root.join("lib/libx.so").is_file());
        Ok(())
    }
}
