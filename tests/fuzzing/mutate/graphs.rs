//! Changes of the nodes, tensors and types of a graph.

use accelerant::export::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use super::bytes;
use crate::random::Random;

/// Operators that read sizes, counts and places from numbers.
const OPERATORS: [&str; 59] = [
    "Add",
    "MatMul",
    "Gemm",
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "Resize",
    "Pad",
    "Slice",
    "Gather",
    "GatherND",
    "GatherElements",
    "ScatterND",
    "ScatterElements",
    "Reshape",
    "Expand",
    "Tile",
    "Concat",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Flatten",
    "ConstantOfShape",
    "Range",
    "OneHot",
    "TopK",
    "NonZero",
    "CumSum",
    "ReduceSum",
    "ReduceMean",
    "ArgMax",
    "Softmax",
    "LayerNormalization",
    "BatchNormalization",
    "LSTM",
    "GRU",
    "RNN",
    "Cast",
    "Where",
    "Loop",
    "If",
    "Scan",
    "Shape",
    "Einsum",
    "DepthToSpace",
    "Identity",
    "Div",
    "Mod",
    "Attention",
    "DFT",
    "STFT",
    "LpNormalization",
    "QuantizeLinear",
    "DequantizeLinear",
    "Trilu",
    "Unique",
    "GridSample",
];

/// Changes one thing of a graph; `other` has nodes and tensors to take.
pub(crate) fn change(graph: &mut GraphProto, other: Option<&GraphProto>, random: &mut Random) {
    match random.below(20) {
        0..=6 => nodes(graph, other, random),
        7..=10 => attribute(graph, random),
        11..=14 => {
            if let Some(tensor) = random.pick_mut(&mut graph.initializer) {
                self::tensor(tensor, random);
            }
        }
        15..=17 => {
            let list = match random.below(3) {
                0 => &mut graph.input,
                1 => &mut graph.output,
                _ => &mut graph.value_info,
            };
            values(list, random);
        }
        18 => {
            if let Some(tensor) = other.and_then(|other| random.pick(&other.initializer)) {
                graph.initializer.push(tensor.clone());
            }
        }
        _ => {
            let name = name_in(graph, random);
            if let Some(tensor) = random.pick_mut(&mut graph.initializer) {
                tensor.name = Some(name);
            }
        }
    }
}

fn name_in(graph: &GraphProto, random: &mut Random) -> String {
    let values = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
    let weights = graph.initializer.iter().filter_map(|tensor| tensor.name.as_ref());
    let names: Vec<&String> = values.chain(weights).collect();
    match random.once_in(12) {
        true => ["", "?", "a\0b", "x", "\u{e9}"][random.below(5)].to_owned(),
        false => random.pick(&names).map(|name| name.to_string()).unwrap_or_default(),
    }
}

fn nodes(graph: &mut GraphProto, other: Option<&GraphProto>, random: &mut Random) {
    let name = name_in(graph, random);
    let places = graph.node.len();
    if places == 0 || random.once_in(8) {
        if let Some(node) = other.and_then(|other| random.pick(&other.node)) {
            let mut node = node.clone();
            node.input.iter_mut().for_each(|input| input.clone_from(&name));
            graph.node.insert(random.below(places + 1), node);
        }
        return;
    }
    let at = random.below(places);
    match random.below(9) {
        0 => drop(graph.node.remove(at)),
        1 => graph.node.insert(at, graph.node[at].clone()),
        2 => graph.node.swap(at, random.below(places)),
        _ => wiring(&mut graph.node[at], name, random),
    }
}

fn wiring(node: &mut NodeProto, name: String, random: &mut Random) {
    match random.below(7) {
        0 => node.op_type = Some(OPERATORS[random.below(OPERATORS.len())].to_owned()),
        1 => node.domain = Some(["", "ai.onnx", "com.microsoft", "x"][random.below(4)].to_owned()),
        2 => node.input.push(name),
        3 => drop(node.input.pop()),
        4 => {
            if let Some(output) = random.pick_mut(&mut node.output) {
                *output = name;
            }
        }
        5 => node.output.push(name),
        _ => {
            if let Some(input) = random.pick_mut(&mut node.input) {
                *input = name;
            }
        }
    }
}

fn attribute(graph: &mut GraphProto, random: &mut Random) {
    let Some(node) = random.pick_mut(&mut graph.node) else { return };
    if node.attribute.is_empty() || random.once_in(8) {
        let known = [
            "axis",
            "axes",
            "to",
            "perm",
            "group",
            "pads",
            "strides",
            "kernel_shape",
            "hidden_size",
            "k",
        ];
        let name = known[random.below(known.len())].to_owned();
        let (number, many) = (random.odd(), random.once_in(2));
        node.attribute.push(AttributeProto {
            name: Some(name),
            r#type: Some(if many { 7 } else { 2 }),
            i: (!many).then_some(number),
            ints: if many { vec![number; random.below(5)] } else { Vec::new() },
            ..AttributeProto::default()
        });
        return;
    }
    let at = random.below(node.attribute.len());
    let attribute = &mut node.attribute[at];
    if let Some(inner) = attribute.g.as_mut().filter(|_| random.below(4) > 0) {
        return change(inner, None, random);
    }
    if let Some(inner) = attribute.t.as_mut().filter(|_| random.below(4) > 0) {
        return tensor(inner, random);
    }
    match random.below(8) {
        0 => drop(node.attribute.remove(at)),
        1 => attribute.r#type = Some(random.below(16) as i32),
        2 => attribute.f = Some([f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30][random.below(5)]),
        3 if !attribute.floats.is_empty() => attribute.floats[0] = f32::NEG_INFINITY,
        4 => attribute.ints.push(random.odd()),
        5 => drop(attribute.ints.pop()),
        6 => attribute.i = Some(random.odd()),
        _ => match random.pick_mut(&mut attribute.ints) {
            Some(number) => *number = random.odd(),
            None => attribute.i = Some(random.odd()),
        },
    }
}

pub(super) fn tensor(tensor: &mut TensorProto, random: &mut Random) {
    match random.below(9) {
        0 => tensor.data_type = Some(random.below(26) as i32),
        1 => tensor.dims.push(random.odd()),
        2 => drop(tensor.dims.pop()),
        3 | 4 => match random.pick_mut(&mut tensor.dims) {
            Some(size) => *size = random.odd(),
            None => tensor.dims.push(random.odd()),
        },
        5 => {
            // A value, such as one of a shape or of axes.
            let number = random.odd();
            match random.pick_mut(&mut tensor.int64_data) {
                Some(value) => *value = number,
                None => raw(
                    tensor,
                    |bytes, random| {
                        let places = bytes.len() / 8;
                        if places > 0 {
                            let at = 8 * random.below(places);
                            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                        }
                    },
                    random,
                ),
            }
        }
        6 => tensor.int64_data.push(random.odd()),
        7 => tensor.data_location = Some(random.below(3) as i32),
        _ => raw(tensor, bytes::change, random),
    }
}

fn raw(tensor: &mut TensorProto, f: impl FnOnce(&mut Vec<u8>, &mut Random), random: &mut Random) {
    let mut bytes = tensor.raw_data.take().map(Vec::from).unwrap_or_default();
    f(&mut bytes, random);
    tensor.raw_data = Some(bytes.into());
}

fn values(list: &mut Vec<ValueInfoProto>, random: &mut Random) {
    if list.is_empty() {
        return;
    }
    let at = random.below(list.len());
    match random.below(8) {
        0 => drop(list.remove(at)),
        1 => list.push(list[at].clone()),
        2 => list[at].name = Some(["", "x", "y", "?"][random.below(4)].to_owned()),
        3 => list[at].r#type = None,
        _ => {
            let Some(type_proto::Value::TensorType(tensor)) =
                list[at].r#type.as_mut().and_then(|found| found.value.as_mut())
            else {
                return;
            };
            match random.below(6) {
                0 => tensor.elem_type = Some(random.below(26) as i32),
                1 => tensor.shape = None,
                _ => shape(tensor.shape.get_or_insert_default(), random),
            }
        }
    }
}

fn shape(shape: &mut TensorShapeProto, random: &mut Random) {
    let value = match random.below(4) {
        0 => {
            Some(dimension::Value::DimParam(["n", "?", "", "-1", "batch"][random.below(5)].into()))
        }
        1 => None,
        _ => Some(dimension::Value::DimValue(random.odd())),
    };
    match random.below(4) {
        0 => shape.dim.push(Dimension { denotation: None, value }),
        1 => drop(shape.dim.pop()),
        _ => match random.pick_mut(&mut shape.dim) {
            Some(dim) => dim.value = value,
            None => shape.dim.push(Dimension { denotation: None, value }),
        },
    }
}
