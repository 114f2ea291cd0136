//! Whether the steps of CI ask for the same features of every dependency. One feature that one step alone has makes cargo
//! compile whatever lies above that dependency once more. Compiles nothing.

use crate::ci::{DEMO, MATRIX};
use crate::workspace::{self, FEATURES, LIBRARY, WHOLE, capture};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// Fails with the dependencies that would be compiled twice.
pub(crate) fn run() -> Result<()> {
    let whole = dependencies(&WHOLE)?;
    // The crate's own features differ, and its development dependencies have all others.
    let steps = [
        ("doc", &["--features", FEATURES] as &[&str]),
        ("clippy demo", &["--no-default-features", "--features", DEMO]),
    ];
    for (step, features) in steps.into_iter().chain(MATRIX) {
        let asked: Vec<&str> = LIBRARY.iter().chain(features).copied().collect();
        let again: Vec<String> = dependencies(&asked)?.difference(&whole).cloned().collect();
        ensure!(
            again.is_empty(),
            "in the step `{step}`, these would be compiled again, since their features are others than in the whole workspace: {}",
            again.join(", ")
        );
    }
    Ok(())
}

/// Each dependency with its features: `serde v1.0.229 [default,derive]`. A crate that macros use too can stand twice.
fn dependencies(asked: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = workspace::cargo(["tree", "--quiet", "--edges", "normal,build,dev"]);
    tree.args(["--prefix", "none", "--format", "{p} [{f}]"]).args(asked);
    Ok(of_registries(&String::from_utf8_lossy(&capture(&mut tree)?.stdout)))
}

/// Members of the workspace have their folder behind their version. A dependency that came before ends in `(*)`.
fn of_registries(tree: &str) -> BTreeSet<String> {
    let member = |line: &&str| line.contains(" (/") || line.contains(":\\");
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.filter(|line| !line.is_empty() && !member(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_compiled_twice() -> Result<()> {
        run()
    }

    #[test]
    fn features_that_one_step_lacks_are_told() -> Result<()> {
        let whole = dependencies(&WHOLE)?;
        assert!(whole.len() > 300, "{} dependencies", whole.len());
        // Alone the crate has another `syn` than with its macros.
        let alone = dependencies(&["--package", "accelerant"])?;
        let again: Vec<_> = alone.difference(&whole).collect();
        assert!(again.iter().any(|line| line.starts_with("syn v2")), "{again:?}");
        Ok(())
    }

    #[test]
    fn members_of_the_workspace_are_left_out() {
        let tree = "accelerant v0.1.0 (/home/a/accelerant) [default]\nserde v1.0.229 [derive]\n\n\
                    serde v1.0.229 [derive] (*)\n";
        assert_eq!(of_registries(tree), BTreeSet::from(["serde v1.0.229 [derive]".to_owned()]));
    }
}
