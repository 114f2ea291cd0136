//! 16-bit floats between others, and constants without elements.

use accelerant::{DType, Dim, HostTensor};

use crate::common::check;
use crate::{GraphBuilder, build};

#[test]
fn what_is_cast_to_16_bits_is_rounded() {
    // Not exact in 16 bits, halfway between two, beyond the largest, and below the smallest.
    let x = [1.001f32, 2049.0, 2051.0, 7e4, -7e4, 1e-9, 0.1];
    let exact = x.map(|x| half::f16::from_f32(x).to_f32());
    let row = |values: &[f32]| HostTensor::from_vec([1, 7], values.to_vec()).unwrap();
    // Large enough that no tolerance hides what is lost.
    let lost: Vec<f32> = x.iter().zip(&exact).map(|(x, exact)| (x - exact) * 1e3).collect();
    let kept = [0, 1, 2, 5, 6];
    check(
        "rounded",
        |target| {
            let dims = vec![Dim::dynamic("batch", 1..=3)?, Dim::Fixed(7)];
            build(target, dims, |_, x| {
                let rounded = x.cast(DType::F16)?.cast(DType::F32)?;
                let kept = x
                    .graph()
                    .constant("kept", HostTensor::from_vec([5], kept.map(|i| i as i64).to_vec())?);
                x.sub(&rounded)?.gather(&kept, 1)?.affine(1e3, 0.0)
            })
        },
        &[row(&x)],
        &[HostTensor::from_vec([1, 5], kept.map(|i| lost[i]).to_vec()).unwrap()],
    );
    // What is beyond the largest is infinite.
    let far = x.map(|x| x > 65520.0).to_vec();
    check(
        "beyond the largest",
        |target| {
            build(target, vec![Dim::Fixed(1), Dim::Fixed(7)], |graph, x| {
                let most = graph.constant("most", HostTensor::scalar(1e30f32));
                x.cast(DType::F16)?.cast(DType::F32)?.greater(&most)
            })
        },
        &[row(&x)],
        &[HostTensor::from_vec([1, 7], far).unwrap()],
    );
}

#[test]
fn constants_without_elements_add_nothing() {
    let x = HostTensor::from_vec([2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    check(
        "concatenated with nothing",
        |target| {
            let graph = GraphBuilder::for_target("empty", target);
            let x = graph.input("x", DType::F32, [2, 3])?;
            let none = graph.constant("none", HostTensor::from_vec::<f32>([2, 0], Vec::new())?);
            graph.output("y", &graph.concat(&[&none, &x, &none], 1)?)?;
            graph.finish()
        },
        std::slice::from_ref(&x),
        std::slice::from_ref(&x),
    );
}
