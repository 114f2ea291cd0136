//! Models on which a consumer was seen to end its process: an error or a result here.

use std::time::Duration;

use crate::child::{Outcome, backends, data, in_child};

/// What still ends the process of a backend.
const ENDED: &[(&str, &str)] = &[];

#[test]
fn hostile_models_end_no_process() {
    let mut problems = Vec::new();
    let mut models = Vec::new();
    for folder in ["tract_abort", "rtx_crash", "ort_crash", "mutated"] {
        let files = std::fs::read_dir(data().join("hostile").join(folder)).unwrap();
        models.extend(
            files
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .map(|name| format!("hostile/{folder}/{name}")),
        );
    }
    models.sort();
    assert!(models.len() > 60);
    for (backend, _) in backends() {
        for model in &models {
            let outcome = in_child(model, backend, Duration::from_secs(60));
            println!("{backend:14} {model:50} {outcome:?}");
            let stated = ENDED.iter().any(|(on, of)| *on == backend && model.ends_with(of));
            if matches!(outcome, Outcome::Ended(_)) != stated {
                problems.push(format!("{backend} {model}: {outcome:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
