//! Convolutions that have other forms on Hopper, in all forms, against sums in f64.

use crate::common::{Sample, Tolerance, check_within, tolerance};
use crate::typed;
use accelerant::export::{Conv, GraphBuilder, Target, Value};
use accelerant::{BackendKind, DType, Dim, HostTensor};
use ndarray::{Array1, Array4, Axis, s};

struct Case {
    /// As the input has it, and as it runs.
    dims: [Dim; 4],
    sizes: [usize; 4],
    dtype: DType,
    outputs: usize,
    kernel: [usize; 2],
    strides: [usize; 2],
    padding: [(usize, usize); 2],
    /// Operators that the other form has, with their number.
    operators: &'static [(&'static str, usize)],
}

const SQUARES: &[(&str, usize)] = &[("Pad", 1), ("Reshape", 2), ("Transpose", 1), ("Conv", 1)];
const UNPADDED: &[(&str, usize)] = &[("Pad", 0), ("Reshape", 2), ("Transpose", 1), ("Conv", 1)];
const GROUPS: &[(&str, usize)] = &[("Conv", 1), ("Reshape", 1), ("ReduceSum", 1)];

impl Case {
    fn new(sizes: [usize; 4], dtype: DType, outputs: usize, kernel: [usize; 2]) -> Self {
        let (strides, padding) = ([1; 2], [(0, 0); 2]);
        Self {
            dims: sizes.map(Dim::Fixed),
            sizes,
            dtype,
            outputs,
            kernel,
            strides,
            padding,
            operators: GROUPS,
        }
    }

    fn over(mut self, strides: [usize; 2], padding: [(usize, usize); 2]) -> Self {
        (self.strides, self.padding) = (strides, padding);
        self
    }

    fn with(mut self, operators: &'static [(&'static str, usize)]) -> Self {
        self.operators = operators;
        self
    }

    fn dynamic(mut self, axis: usize, name: &str) -> Self {
        let size = self.sizes[axis];
        let range = Dim::dynamic(name, size.div_ceil(2)..=size + 1);
        self.dims[axis] = range.expect("a valid range");
        self
    }
}

/// What a convolution gives, summed up in f64.
fn convolved(
    x: &Array4<f32>,
    weight: &Array4<f32>,
    bias: &Array1<f32>,
    case: &Case,
) -> Array4<f32> {
    let [batch, channels, height, width] = case.sizes;
    let [(top, bottom), (left, right)] = case.padding;
    let mut padded =
        Array4::<f64>::zeros((batch, channels, height + top + bottom, width + left + right));
    let inner = s![.., .., top..top + height, left..left + width];
    padded.slice_mut(inner).assign(&x.mapv(f64::from));
    let weight = weight.mapv(f64::from);
    let [rows, columns] = [2, 3].map(|axis| {
        let (size, i) = (padded.len_of(Axis(axis)), axis - 2);
        (size - case.kernel[i]) / case.strides[i] + 1
    });
    Array4::from_shape_fn((batch, case.outputs, rows, columns), |(b, o, i, j)| {
        let (i, j) = (i * case.strides[0], j * case.strides[1]);
        let window = s![b, .., i..i + case.kernel[0], j..j + case.kernel[1]];
        let sum = (&padded.slice(window) * &weight.index_axis(Axis(0), o)).sum();
        (sum + f64::from(bias[o])) as f32
    })
}

fn values(shape: [usize; 4], scale: f32, seed: u64) -> Array4<f32> {
    let values = super::values(&shape, scale, seed);
    values.into_dimensionality::<ndarray::Ix4>().expect("four axes")
}

fn within(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    match expected.dtype() {
        DType::F16 => Tolerance { absolute: 1e-2, relative: 0.0 },
        _ => tolerance(backend, expected),
    }
}

#[test]
fn convolutions_with_other_forms_match_ndarray() {
    use DType::{F16, F32};
    let cases = [
        // The first of a ResNet, of an AlexNet, and of a ViT, which pads nothing.
        Case::new([2, 3, 20, 24], F32, 8, [7, 7]).over([2, 2], [(3, 3); 2]).with(SQUARES),
        Case::new([1, 3, 23, 27], F16, 8, [11, 11]).over([4, 4], [(2, 2); 2]).with(SQUARES),
        Case::new([2, 3, 32, 16], F32, 8, [8, 8]).over([8, 8], [(0, 0); 2]).with(UNPADDED),
        // Any batch; sizes that differ between the axes.
        Case::new([3, 4, 16, 17], F16, 5, [5, 4])
            .over([2, 3], [(2, 1), (1, 2)])
            .with(SQUARES)
            .dynamic(0, "batch"),
        // Two groups of 64 channels, and four.
        Case::new([1, 128, 7, 7], F32, 16, [3, 3]).over([1, 1], [(1, 1); 2]),
        Case::new([1, 1024, 7, 7], F32, 24, [1, 1]),
        Case::new([1, 512, 14, 14], F16, 16, [3, 3]).over([2, 2], [(1, 1); 2]),
        Case::new([3, 512, 6, 9], F32, 16, [2, 1])
            .over([1, 1], [(1, 0), (0, 0)])
            .dynamic(0, "batch"),
        Case::new([2, 256, 8, 8], F32, 16, [3, 3])
            .over([1, 1], [(1, 1); 2])
            .dynamic(0, "batch")
            .dynamic(2, "height")
            .dynamic(3, "width"),
    ];
    for case in &cases {
        let typed = |array| typed(case.dtype, array);
        let [rows, columns] = case.kernel;
        let products = (case.sizes[1] * rows * columns) as f32;
        // tract adds up 4608 products in 16 bits.
        let x = values(case.sizes, if case.dtype == F16 { 0.25 } else { 1.0 }, 1);
        let weight = values([case.outputs, case.sizes[1], rows, columns], products.powf(-0.5), 2);
        let bias = values([case.outputs, 1, 1, 1], 0.5, 3).remove_axis(Axis(3));
        let bias = bias.remove_axis(Axis(2)).remove_axis(Axis(1));
        let expected = convolved(&x, &weight, &bias, case);
        let export = |target| {
            let graph = GraphBuilder::for_target("case", target);
            let x = graph.input("x", case.dtype, case.dims.to_vec())?;
            let weight = graph.weight("weight", typed(weight.clone().into_dyn()))?;
            let bias = graph.weight("bias", typed(bias.clone().into_dyn()))?;
            let options = Conv::new(2).strides(case.strides).padding(case.padding);
            graph.output("y", &x.conv(&weight, Some(&bias), &options)?)?;
            graph.finish()
        };
        let name = format!("{} {:?}, kernel {:?}", case.dtype, case.dims, case.kernel);
        let model =
            export(Target::portable().for_compute_capability(Some(90))).expect("it is exported");
        let nodes = &model.proto().graph.as_ref().expect("a graph").node;
        for &(operator, count) in case.operators {
            let found = nodes.iter().filter(|node| node.op_type() == operator).count();
            assert_eq!(found, count, "{operator} of {name}: {model}");
        }
        let sample = Sample {
            name: "as it is".into(),
            inputs: vec![typed(x.into_dyn())],
            expected: vec![typed(expected.into_dyn())],
        };
        check_within(&name, export, &[sample], within);
    }
}

/// A residual block where it changes its size: two convolutions with their norms, which are added.
#[test]
fn sums_of_two_convolutions_match_ndarray() {
    for (dtype, dynamic, stride) in
        [(DType::F32, false, 1), (DType::F16, false, 2), (DType::F32, true, 2)]
    {
        let of = |channels, size| Case::new([2, channels, size, size], dtype, 24, [1, 1]);
        let main = of(12, 9);
        let shortcut = of(20, 9 * stride - 1).over([stride; 2], [(0, 0); 2]);
        let shortcut = if stride == 1 { of(20, 9) } else { shortcut };
        let x = [values(main.sizes, 1.0, 1), values(shortcut.sizes, 1.0, 2)];
        let weights = [values([24, 12, 1, 1], 0.3, 3), values([24, 20, 1, 1], 0.3, 4)];
        let row = |scale: f32, seed| {
            let row = values([24, 1, 1, 1], scale, seed).into_shape_with_order(24);
            row.expect("24 numbers")
        };
        let bias = row(0.5, 5);
        // Scale, shift, mean and variance of either norm.
        let norms = [10, 20].map(|seed| {
            [
                row(1.0, seed),
                row(0.5, seed + 1),
                row(0.5, seed + 2),
                row(0.4, seed + 3).mapv(|v| 1.0 + v),
            ]
        });
        let zero = Array1::zeros(24);
        let normed = |i: usize, case: &Case, bias: &Array1<f32>| {
            let mut y = convolved(&x[i], &weights[i], bias, case);
            let [scale, shift, mean, variance] = &norms[i];
            for (o, mut plane) in y.axis_iter_mut(Axis(1)).enumerate() {
                let scale = scale[o] / (variance[o] + 1e-5).sqrt();
                plane.mapv_inplace(|v| (v - mean[o]) * scale + shift[o]);
            }
            y
        };
        let expected = normed(0, &main, &bias) + normed(1, &shortcut, &zero);
        let export = |target| {
            let graph = GraphBuilder::for_target("case", target);
            let input = |name: &str, case: &Case| {
                let mut dims = case.dims.to_vec();
                if dynamic {
                    dims[0] = Dim::dynamic("batch", 1..=4)?;
                }
                graph.input(name, dtype, dims)
            };
            let inputs = [input("x", &main)?, input("skipped", &shortcut)?];
            let normed = |i: usize, bias: Option<&Value>, stride| {
                let weight = typed(dtype, weights[i].clone().into_dyn());
                let weight = graph.weight(&format!("weight{i}"), weight)?;
                let options = Conv::new(2).strides([stride; 2]);
                let y = inputs[i].conv(&weight, bias, &options)?;
                let parameter =
                    |j: usize| graph.constant("norm", typed(dtype, norms[i][j].clone().into_dyn()));
                let [scale, shift, mean, variance] = [0, 1, 2, 3].map(parameter);
                y.batch_norm(&scale, &shift, &mean, &variance, 1e-5)
            };
            let bias = graph.weight("bias", typed(dtype, bias.clone().into_dyn()))?;
            let sum = normed(0, Some(&bias), 1)?.add(&normed(1, None, stride)?)?;
            graph.output("y", &sum)?;
            graph.finish()
        };
        let model =
            export(Target::portable().for_compute_capability(Some(90))).expect("it is exported");
        let text = model.to_string();
        let found = ["Concat", "BatchNormalization"].map(|operator| text.contains(operator));
        assert_eq!(found, [true, false], "{text}");
        let name = format!("a sum of two, {dtype}, stride {stride}");
        let sample = Sample {
            name: "as it is".into(),
            inputs: x.map(|x| typed(dtype, x.into_dyn())).to_vec(),
            expected: vec![typed(dtype, expected.into_dyn())],
        };
        check_within(&name, export, &[sample], within);
    }
}
