//! Paths where something lies already: a file with a mode, a link, a pipe, a device, a folder.
#![cfg(target_os = "linux")]

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    thread,
};

use accelerant::ErrorKind;
use accelerant::export::OnnxModel;

use super::versions::{KINDS, Kind, model};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_replaced_file_keeps_its_mode() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        kind.save(1, &path).unwrap();
        let usual = folder.path().join("usual");
        fs::write(&usual, "").unwrap();
        assert_eq!(mode(&path), mode(&usual), "a new file has the usual mode");
        for wanted in [0o600, 0o640, 0o666, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
            kind.save(2, &path).unwrap();
            assert_eq!((mode(&path), kind.version(&path)), (wanted, 2), "{kind:?}");
        }
    }
}

#[test]
fn a_link_stays_a_link() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let [links, files] = ["links", "files"].map(|name| folder.path().join(name));
        fs::create_dir(&links).unwrap();
        fs::create_dir(&files).unwrap();
        let [link, file] = [links.join("link.onnx"), files.join("m.onnx")];
        symlink("../files/m.onnx", &link).unwrap();
        // First to a file that is not there yet, then to one that is.
        for version in [1, 2] {
            kind.save(version, &link).unwrap();
            assert!(link.symlink_metadata().unwrap().is_symlink());
            assert_eq!((kind.version(&link), kind.version(&file)), (version, version));
            assert_eq!(files.read_dir().unwrap().count(), kind.files(), "{kind:?}");
            assert_eq!(links.read_dir().unwrap().count(), 1);
        }
    }
}

#[test]
fn links_in_a_circle_and_folders_are_refused() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, inner] = ["a", "b", "inner"].map(|name| folder.path().join(name));
        symlink("b", &a).unwrap();
        symlink("a", &b).unwrap();
        fs::create_dir(&inner).unwrap();
        for path in [&a, &inner] {
            assert_eq!(kind.save(1, path).unwrap_err().kind(), ErrorKind::Io, "{kind:?}");
        }
        assert!(a.symlink_metadata().unwrap().is_symlink() && inner.is_dir());
        assert_eq!(folder.path().read_dir().unwrap().count(), 3);
    }
}

#[test]
fn a_pipe_is_written_to() {
    for through_link in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link] = ["pipe", "link"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink(&pipe, &link).unwrap();
        let path = if through_link { &link } else { &pipe };
        let reader = {
            let pipe = pipe.clone();
            thread::spawn(move || fs::read(pipe).unwrap())
        };
        Kind::Model.save(3, path).unwrap();
        let read = OnnxModel::from_bytes(reader.join().unwrap()).unwrap();
        assert_eq!(read.proto(), model(3).proto());
        // Weights cannot lie beside it.
        for kind in [Kind::Pair, Kind::Module] {
            assert_eq!(kind.save(3, path).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    }
}

#[test]
fn a_device_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let [null, full] = ["null", "full"].map(|name| folder.path().join(name));
    symlink("/dev/null", &null).unwrap();
    symlink("/dev/full", &full).unwrap();
    for kind in [Kind::Model, Kind::Engine] {
        for path in [Path::new("/dev/null"), &null] {
            kind.save(1, path).unwrap();
        }
        for path in [Path::new("/dev/full"), &full] {
            let error = kind.save(1, path).unwrap_err();
            assert!(error.to_string().contains("No space left"), "{error}");
        }
    }
    for device in ["/dev/null", "/dev/full"] {
        assert!(Path::new(device).symlink_metadata().unwrap().file_type().is_char_device());
    }
    assert!(null.symlink_metadata().unwrap().is_symlink());
}
