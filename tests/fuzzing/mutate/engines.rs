//! Changes of engine files: of the bytes, and of what stands in header and plan, with checksums that fit.

use crate::random::Random;
use crate::readers::{Head, HeadDim, seal, unseal};

use super::{bytes, models};

/// An engine file with one to four changes. Some have checksums that fit.
pub(crate) fn engine(corpus: &[Vec<u8>], models: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let file = random.pick(corpus).unwrap();
    if random.once_in(4) {
        let mut changed = file.clone();
        for _ in 0..1 + random.below(4) {
            bytes::change(&mut changed, random);
        }
        return changed;
    }
    let (mut head, mut plan) = unseal(file).unwrap();
    for _ in 0..1 + random.below(4) {
        match random.below(5) {
            0 => plan = models::model(&[plan], random),
            1 => plan = random.pick(models).unwrap().clone(),
            _ => change(&mut head, random),
        }
    }
    head.plan_len = if random.once_in(20) { random.odd() as u64 } else { plan.len() as u64 };
    seal(&head, &plan)
}

fn change(head: &mut Head, random: &mut Random) {
    let list = if random.once_in(3) { &mut head.outputs } else { &mut head.inputs };
    let number = random.odd();
    match random.below(12) {
        0 => head.backend = ["tract", "ort", "tensorrt-rtx", "", "x"][random.below(5)].to_owned(),
        1 => head.library = "9".into(),
        2 => drop(list.pop()),
        3 => list.extend(list.first().cloned()),
        4 => head.build_nanos = number as u64,
        5 => head.profile_names.push(String::new()),
        _ => {
            let Some(spec) = random.pick_mut(list) else { return };
            let name = ["", "n", "batch", "?"][random.below(4)].to_owned();
            match random.below(6) {
                0 => spec.name = name,
                1 => spec.dtype = number as i32,
                2 => spec.dims.push(HeadDim { opt: number as u64, ..HeadDim::default() }),
                3 => drop(spec.dims.pop()),
                _ => {
                    let Some(dim) = random.pick_mut(&mut spec.dims) else { return };
                    let number = number as u64;
                    match random.below(6) {
                        0 => dim.name = name,
                        1 => dim.min = number,
                        2 => dim.opt = number,
                        3 => dim.max = number,
                        4 => dim.sizes.push(number),
                        _ => {
                            *dim = HeadDim {
                                name,
                                min: number,
                                opt: number,
                                max: number,
                                sizes: Vec::new(),
                            }
                        }
                    }
                }
            }
        }
    }
}
