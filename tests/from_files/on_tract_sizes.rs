//! Numbers that follow from sizes, which tract computes with as expressions of symbols.

use accelerant::backend::Backend as _;
use accelerant::backend::tract::Tract;
use accelerant::export::OnnxModel;
use accelerant::{DType, ErrorKind, HostTensor};

use crate::file::{File, Stated};
use crate::on_tract::{gives, of, vector};

/// `numbers(sizes of x)` as an output, for a matrix of these sizes, which are bound or open.
fn of_sizes(
    name: &str,
    sizes: [usize; 2],
    expected: [i64; 2],
    numbers: impl Fn(&mut File, &str) -> String,
) {
    let stated = sizes.map(|size| size.to_string());
    for dims in [["rows", "columns"], [&stated[0], &stated[1]]] {
        let mut file = File::new(20);
        let x = file.input("x", DType::F32, &dims);
        let shape = file.node("Shape", &[&x]);
        let y = numbers(&mut file, &shape);
        let model = file.read_open(&y, DType::I64, &["2"]);
        let x = of(&sizes, &vec![0f32; sizes[0] * sizes[1]]);
        gives(&format!("{name} of {dims:?}"), &model, &[x], &vector(&expected));
    }
}

fn rest(file: &mut File, x: &str, by: i64) -> String {
    let by = file.ints(&[by]);
    file.node("Mod", &[x, &by])
}

fn quotient(file: &mut File, x: &str, by: i64) -> String {
    let by = file.ints(&[by]);
    file.node("Div", &[x, &by])
}

fn less(file: &mut File, from: i64, x: &str) -> String {
    let from = file.ints(&[from]);
    file.node("Sub", &[&from, x])
}

#[test]
fn remainders_and_quotients_of_sizes() {
    of_sizes("the sizes", [4, 3], [4, 3], |_, x| x.to_owned());
    of_sizes("a remainder", [4, 3], [0, 3], |file, x| rest(file, x, 4));
    of_sizes("what is missing", [3, 1], [1, 3], |file, x| {
        let x = file.node("Neg", &[x]);
        rest(file, &x, 4)
    });
    // As a model pads to whole windows.
    of_sizes("padding", [3, 4], [1, 0], |file, x| {
        let x = rest(file, x, 4);
        let x = less(file, 4, &x);
        rest(file, &x, 4)
    });
    of_sizes("a remainder of less", [1, 3], [2, 0], |file, x| {
        let three = file.ints(&[3]);
        let x = file.node("Sub", &[x, &three]);
        rest(file, &x, 4)
    });
    of_sizes("a negative divisor", [3, 4], [-1, 0], |file, x| rest(file, x, -4));
    of_sizes("as in C", [3, 1], [-3, -1], |file, x| {
        let x = file.node("Neg", &[x]);
        let four = file.ints(&[4]);
        file.node_with("Mod", &[&x, &four], &[("fmod", Stated::Int(1))])
    });
    of_sizes("a quotient", [4, 3], [2, 1], |file, x| quotient(file, x, 2));
    of_sizes("a quotient of less", [18, 3], [-2, 1], |file, x| {
        let x = less(file, 9, x);
        quotient(file, &x, 4)
    });
}

#[test]
fn one_size_is_an_output() {
    let mut file = File::new(20);
    let x = file.input("x", DType::F32, &["rows", "columns"]);
    let rows = file.node_with("Shape", &[&x], &[("end", Stated::Int(1))]);
    let rows = file.node("Squeeze", &[&rows]);
    let model = file.read_open(&rows, DType::I64, &[]);
    for rows in [1, 3] {
        let x = of(&[rows, 2], &vec![0f32; 2 * rows]);
        gives("rows", &model, &[x], &HostTensor::scalar(rows as i64));
    }
}

#[test]
fn sizes_beside_numbers() {
    for (operator, given, expected) in [
        ("Add", [-7i64, 2], [-4i64, 4]),
        ("Mod", [-7, 5], [2, 1]),
        ("Div", [-7, 5], [-2, 2]),
        ("Max", [-7, 5], [3, 5]),
        ("Mul", [1 << 40, -5], [3 << 40, -10]),
    ] {
        for dims in [["rows", "columns"], ["3", "2"]] {
            let mut file = File::new(20);
            let x = file.input("x", DType::F32, &dims);
            let numbers = file.input("numbers", DType::I64, &["2"]);
            let shape = file.node("Shape", &[&x]);
            let y = file.node(operator, &[&numbers, &shape]);
            let model = file.read_open(&y, DType::I64, &["2"]);
            let inputs = [of(&[3, 2], &[0f32; 6]), vector(&given)];
            gives(&format!("{operator} of {dims:?}"), &model, &inputs, &vector(&expected));
        }
    }
}

/// An error of the run, as long as these are the sizes of the inputs, and a result for others.
fn needs_sizes_that_fit(model: &OnnxModel, node: &str, wrong: &[&[usize]], right: &[&[usize]]) {
    let model = model.for_target(Tract.target()).unwrap();
    let (_, executable) = Tract.build_and_load(&model).unwrap();
    let run = |sizes: &[&[usize]]| {
        let zeros = |sizes: &&[usize]| of(sizes, &vec![0f32; sizes.iter().product()]);
        executable.run(&sizes.iter().map(zeros).collect::<Vec<_>>())
    };
    for _ in 0..2 {
        let error = run(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Execution, "{error}");
        assert!(error.to_string().contains(node), "{error}");
        run(right).unwrap();
    }
}

#[test]
fn sizes_of_a_run_fit_each_other() {
    let mut file = File::new(20);
    let [x, z] = [("x", ["2", "k"]), ("z", ["m", "3"])]
        .map(|(name, dims)| file.input(name, DType::F32, &dims));
    let y = file.node("MatMul", &[&x, &z]);
    let product = file.read_open(&y, DType::F32, &["2", "3"]);
    needs_sizes_that_fit(&product, "MatMul", &[&[2, 3], &[200_000, 3]], &[&[2, 4], &[4, 3]]);
    needs_sizes_that_fit(&product, "MatMul", &[&[2, 5], &[7, 3]], &[&[2, 7], &[7, 3]]);
    let mut file = File::new(20);
    let x = file.input("x", DType::F32, &["1", "1", "h", "w"]);
    let weight = file.weight("weight", of(&[1, 1, 3, 3], &[0.5f32; 9]));
    let y = file.node("Conv", &[&x, &weight]);
    let windows = file.read_open(&y, DType::F32, &["1", "1", "a", "b"]);
    needs_sizes_that_fit(&windows, "Conv", &[&[1, 1, 1, 1]], &[&[1, 1, 3, 4]]);
}

/// The places of what is not 0 as floats, in the shape `[1, count]`.
fn places(file: &mut File) -> String {
    let x = file.input("x", DType::F32, &["6"]);
    let places = file.node("NonZero", &[&x]);
    file.node_with("Cast", &[&places], &[("to", Stated::Int(1))])
}

/// The first ones of six are not 0.
fn first(count: usize) -> HostTensor {
    let values: Vec<f32> = (0..6).map(|i| if i < count { 1.0 } else { 0.0 }).collect();
    vector(&values)
}

/// An error with the node for `wrong` places, and a result for `right` ones.
fn needs_places(model: &OnnxModel, node: &str, wrong: &[usize], right: &[usize]) {
    let model = model.for_target(Tract.target()).unwrap();
    let (_, executable) = Tract.build_and_load(&model).unwrap();
    for &count in wrong {
        let error = executable.run(&[first(count)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Execution, "{error}");
        assert!(error.to_string().contains(node), "{error}");
        let told = ["do not fit", "largest of"].iter().any(|part| error.to_string().contains(part));
        assert!(told, "{error}");
    }
    for &count in right {
        executable.run(&[first(count)]).unwrap_or_else(|e| panic!("{node} of {count}: {e}"));
    }
}

#[test]
fn sizes_that_values_decide_fit_each_other() {
    let ones = |shape: &[usize]| of(shape, &vec![1f32; shape.iter().product()]);
    for rows in [1, 3, 300_000] {
        let mut file = File::new(20);
        let x = places(&mut file);
        let weight = file.weight("weight", ones(&[rows, 2]));
        let y = file.node("MatMul", &[&x, &weight]);
        let product = file.read_open(&y, DType::F32, &["1", "2"]);
        let right: Vec<usize> = Some(rows).into_iter().filter(|&rows| rows <= 6).collect();
        needs_places(&product, "matmul", &[0, 2, 5], &right);
    }
    // Taken apart before it is a product.
    let mut file = File::new(20);
    let x = places(&mut file);
    let more = file.weight("more", ones(&[1, 2]));
    let x = file.node_with("Concat", &[&x, &more], &[("axis", Stated::Int(1))]);
    let weight = file.weight("weight", ones(&[5, 2]));
    let y = file.node("MatMul", &[&x, &weight]);
    let product = file.read_open(&y, DType::F32, &["1", "2"]);
    needs_places(&product, "matmul", &[0, 1, 6], &[3]);
    let kernel: [(&str, &[(&str, Stated<'_>)]); 3] = [
        ("Conv", &[]),
        ("MaxPool", &[("kernel_shape", Stated::Ints(&[3]))]),
        ("AveragePool", &[("kernel_shape", Stated::Ints(&[3])), ("strides", Stated::Ints(&[2]))]),
    ];
    for (operator, attributes) in kernel {
        let mut file = File::new(20);
        let x = places(&mut file);
        let axes = file.ints(&[0]);
        let x = file.node("Unsqueeze", &[&x, &axes]);
        let mut inputs = vec![x];
        if operator == "Conv" {
            inputs.push(file.weight("weight", ones(&[2, 1, 3])));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = file.node_with(operator, &inputs, attributes);
        let window = file.read_open(&y, DType::F32, &["1", "c", "w"]);
        needs_places(&window, &operator.to_lowercase(), &[0, 1, 2], &[3, 4, 6]);
    }
    let mut file = File::new(20);
    let x = places(&mut file);
    let k = file.ints(&[3]);
    file.node_giving("TopK", &[&x, &k], &[], &["largest", "places"]);
    let largest = file.read_open("largest", DType::F32, &["1", "3"]);
    needs_places(&largest, "topk", &[0, 2], &[3, 6]);
    let mut file = File::new(20);
    let x = places(&mut file);
    let pads = file.ints(&[0, 2, 0, 0]);
    let y = file.node_with("Pad", &[&x, &pads], &[("mode", Stated::Text("reflect"))]);
    let reflected = file.read_open(&y, DType::F32, &["1", "w"]);
    needs_places(&reflected, "pad", &[0, 1, 2], &[3, 6]);
}

#[test]
fn sizes_are_compared() {
    for (operator, expected) in [
        ("Equal", [true, false]),
        ("Less", [false, true]),
        ("Greater", [false, false]),
        ("LessOrEqual", [true, true]),
        ("GreaterOrEqual", [true, false]),
    ] {
        for dims in [["rows", "columns"], ["3", "4"]] {
            let mut file = File::new(20);
            let x = file.input("x", DType::F32, &dims);
            let shape = file.node("Shape", &[&x]);
            let other = file.ints(&[3, 5]);
            let y = file.node(operator, &[&shape, &other]);
            let model = file.read_open(&y, DType::Bool, &["2"]);
            gives(operator, &model, &[of(&[3, 4], &[0f32; 12])], &vector(&expected));
        }
    }
    // And decide another shape, which tract must know before.
    let expanded = |numbers: [i64; 2]| {
        let mut file = File::new(20);
        let x = file.input("x", DType::F32, &["rows", "columns"]);
        let shape = file.node("Shape", &[&x]);
        let [numbers, two] = [numbers, [2, 2]].map(|values| file.ints(&values));
        let same = file.node("Equal", &[&shape, &numbers]);
        let target = file.node("Where", &[&same, &two, &shape]);
        let one = file.weight("one", of(&[1, 1], &[7f32]));
        let y = file.node("Expand", &[&one, &target]);
        file.read_open(&y, DType::F32, &["a", "b"]).for_target(Tract.target()).unwrap()
    };
    let error = Tract.build(&expanded([3, 3])).unwrap_err().to_string();
    assert!(error.contains("tract 0.23.9 refuses the model"), "{error}");
    // As torch asks for sizes that a target leaves open.
    let model = expanded([-1, -1]);
    gives("Expand", &model, &[of(&[3, 4], &[0f32; 12])], &of(&[3, 4], &[7f32; 12]));
}

#[test]
fn ranges_of_sizes_that_end_before_they_begin() {
    let mut file = File::new(20);
    let x = file.input("x", DType::F32, &["rows"]);
    let size = file.node("Size", &[&x]);
    let [start, step] = [2i64, 1].map(HostTensor::scalar);
    let (start, step) = (file.weight("start", start), file.weight("step", step));
    let y = file.node("Range", &[&start, &size, &step]);
    let model = file.read_open(&y, DType::I64, &["n"]);
    gives("Range", &model, &[vector(&[0f32; 4])], &vector(&[2i64, 3]));
    let model = model.for_target(Tract.target()).unwrap();
    let (_, executable) = Tract.build_and_load(&model).unwrap();
    let error = executable.run(&[vector(&[0f32; 1])]).unwrap_err().to_string();
    assert!(error.contains("range") && error.contains("use ONNX Runtime"), "{error}");
    // Backwards it is empty.
    for (count, expected) in [(4, &[][..]), (1, &[2i64]), (0, &[2, 1])] {
        for dims in ["rows".to_owned(), count.to_string()] {
            let mut file = File::new(20);
            let x = file.input("x", DType::F32, &[&dims]);
            let size = file.node("Size", &[&x]);
            let [start, step] = [2i64, -1].map(HostTensor::scalar);
            let (start, step) = (file.weight("start", start), file.weight("step", step));
            let y = file.node("Range", &[&start, &size, &step]);
            let model = file.read_open(&y, DType::I64, &["n"]);
            gives("Range", &model, &[vector(&vec![0f32; count])], &vector(expected));
        }
    }
}
