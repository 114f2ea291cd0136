//! SHA-256 of files and of folders. No policy about what must match.

use super::stamp;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::Path;

/// The hash of a file.
///
/// # Errors
/// When it cannot be read.
pub fn file(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    add(&mut hasher, path)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// The hash of a folder: over each file's relative path, length and content, sorted by path. A stamp is left out.
///
/// # Errors
/// When a file cannot be read.
pub fn tree(root: &Path) -> Result<String> {
    named(root, &mut names(root)?)
}

/// The hash of each file of a folder, by its relative path. A stamp is left out.
///
/// # Errors
/// When a file cannot be read.
pub fn each(root: &Path) -> Result<Vec<(String, String)>> {
    names(root)?.into_iter().map(|name| Ok((name.clone(), file(&root.join(name))?))).collect()
}

fn names(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    list(root, root, &mut files)?;
    files.retain(|name| name != stamp::NAME);
    files.sort();
    Ok(files)
}

/// The same over the files of the given names only.
///
/// # Errors
/// When a file cannot be read.
pub fn named(root: &Path, names: &mut [String]) -> Result<String> {
    names.sort();
    let mut hasher = Sha256::new();
    for name in names.iter() {
        let path = root.join(name);
        let length = path.metadata().with_context(|| format!("reading {}", path.display()))?.len();
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(length.to_le_bytes());
        add(&mut hasher, &path)?;
    }
    Ok(format!("{:x}", hasher.finalize()))
}

fn add(hasher: &mut Sha256, path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, hasher))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(())
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_hashes_as_the_standard_says() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("abc");
        fs::write(&path, "abc")?;
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file(&path)?, expected);
        Ok(())
    }

    #[test]
    fn a_tree_hash_depends_on_names_and_contents_and_where_they_meet() -> Result<()> {
        let hash = |files: &[(&str, &str)]| -> Result<String> {
            let dir = tempfile::tempdir()?;
            for (name, text) in files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
                fs::write(path, text)?;
            }
            tree(dir.path())
        };
        let base = hash(&[("a/x", "1"), ("b", "2")])?;
        assert_eq!(base, hash(&[("b", "2"), ("a/x", "1")])?);
        for other in [&[("a/x", "1"), ("c", "2")], &[("a/x", "12"), ("b", "")]] {
            assert_ne!(base, hash(other)?);
        }
        Ok(())
    }
}
