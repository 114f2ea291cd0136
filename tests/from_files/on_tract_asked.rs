//! Numbers that say how much is asked for, at their ends: no boxes, diagonals far beyond a matrix, classes that there are
//! not, a scale of nothing but zeros.

use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::on_tract::{gives, node, of, vector};

/// Two boxes apart from each other, and the scores of one class.
fn boxes() -> [HostTensor; 2] {
    let corners = [0f32, 0.0, 1.0, 1.0, 5.0, 5.0, 6.0, 6.0];
    [of(&[1, 2, 4], &corners), of(&[1, 1, 2], &[0.75f32, 0.5])]
}

#[test]
fn no_boxes_where_none_are_asked_for() {
    let all = boxes();
    let none = of::<i64>(&[0, 3], &[]);
    let one = of(&[1, 3], &[0i64, 0, 0]);
    let both = of(&[2, 3], &[0i64, 0, 0, 0, 0, 1]);
    node("NonMaxSuppression", &all, &[], &[], &none);
    for (most, expected) in [(0i64, &none), (1, &one), (2, &both), (-1, &none)] {
        node("NonMaxSuppression", &all, &[vector(&[most])], &[], expected);
        let center = [("center_point_box", Stated::Int(1))];
        let limits = [vector(&[most]), vector(&[0.5f32]), vector(&[0.25f32])];
        if most == 0 {
            node("NonMaxSuppression", &all, &limits, &center, expected);
        }
        let inputs = [all[0].clone(), all[1].clone(), vector(&[most])];
        node("NonMaxSuppression", &inputs, &[], &[], expected);
    }
    // Left out before one that is there.
    let mut file = File::new(17);
    let [b, s] = [("b", ["1", "2", "4"]), ("s", ["1", "1", "2"])]
        .map(|(name, dims)| file.input(name, DType::F32, &dims));
    let least = file.weight("least", vector(&[0.25f32]));
    let y = file.node("NonMaxSuppression", &[&b, &s, "", "", &least]);
    gives("left out", &file.read_open(&y, DType::I64, &["k", "3"]), &all, &none);
}

#[test]
fn diagonals_beyond_a_matrix() {
    fn triangles(x: &HostTensor, zero: &HostTensor) {
        for far in [1i64 << 31, 1 << 40, 1 << 62, i64::MAX - 1, i64::MAX] {
            for (k, upper) in [(far, 1), (far, 0), (-far, 1), (-far, 0), (i64::MIN, 1)] {
                let whole = (k < 0) == (upper == 1);
                let expected = if whole { x } else { zero };
                let upper = [("upper", Stated::Int(upper))];
                let given = [x.clone(), HostTensor::scalar(k)];
                node("Trilu", &given, &[], &upper, expected);
                node("Trilu", &given[..1], &given[1..], &upper, expected);
            }
        }
    }
    triangles(&of(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]), &of(&[2, 3], &[0f32; 6]));
    triangles(&of(&[2, 2], &[1i64, 2, 3, 4]), &of(&[2, 2], &[0i64; 4]));
    triangles(&of(&[3, 1], &[true, true, true]), &of(&[3, 1], &[false; 3]));
}

#[test]
fn classes_that_there_are_not_in_older_operator_sets() {
    for opset in [9, 10] {
        for (axis, shape) in [(-1, ["3", "2"]), (0, ["2", "3"])] {
            let mut file = File::new(opset);
            let places = file.input("places", DType::I64, &["3"]);
            let depth = file.ints(&[2]);
            let values = file.weight("values", vector(&[0f32, 1.0]));
            let axis = [("axis", Stated::Int(axis))];
            let y = file.node_with("OneHot", &[&places, &depth, &values], &axis);
            let model = file.read_open(&y, DType::F32, &shape);
            let expected = match shape {
                ["3", _] => of(&[3, 2], &[0f32, 1.0, 1.0, 0.0, 0.0, 0.0]),
                _ => of(&[2, 3], &[0f32, 1.0, 0.0, 1.0, 0.0, 0.0]),
            };
            let name = format!("operator set {opset}");
            gives(&name, &model, &[vector(&[-1i64, 0, 9])], &expected);
        }
    }
}

#[test]
fn a_scale_of_zeros() {
    for (x, scale) in [([0f32; 3], 1f32), ([0.0, 255.0, 51.0], 1.0), ([0.0, 510.0, 2.0], 2.0)] {
        let mut file = File::new(17);
        let input = file.input("x", DType::F32, &["3"]);
        file.node_giving("DynamicQuantizeLinear", &[&input], &[], &["q", "s", "z"]);
        let model = file.read_open("s", DType::F32, &[]);
        gives("a scale", &model, &[vector(&x)], &HostTensor::scalar(scale));
    }
}
