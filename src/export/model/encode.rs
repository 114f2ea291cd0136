//! A model as protobuf, written piece by piece: its weights go from where they are straight to the
//! file, and no second copy of them is made.

use std::io::{self, Write};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::export::onnx::{ModelProto, TensorProto};

/// Numbers of the fields on the way to a weight's data, from `onnx.proto`.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_RAW_DATA: u32 = 9;

/// Writes what [`Message::encode`] would, with the graph as last field.
pub(super) fn write(model: &ModelProto, out: &mut impl Write) -> io::Result<()> {
    let mut rest = model.clone();
    let Some(mut graph) = rest.graph.take() else {
        return out.write_all(&rest.encode_to_vec());
    };
    let weights: Vec<Weight> = graph.initializer.drain(..).map(Weight::new).collect();
    let graph = graph.encode_to_vec();
    let mut length = graph.len();
    for weight in &weights {
        length += weight.head.len() + weight.tensor.raw_data().len();
    }

    let mut head = rest.encode_to_vec();
    length_delimited(MODEL_GRAPH, length, &mut head);
    out.write_all(&head)?;
    out.write_all(&graph)?;
    for weight in &weights {
        out.write_all(&weight.head)?;
        out.write_all(weight.tensor.raw_data())?;
    }
    Ok(())
}

/// What [`write`] writes, in memory.
pub(super) fn to_vec(model: &ModelProto) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(model.encoded_len());
    // Memory takes everything.
    let _ = write(model, &mut bytes);
    bytes
}

#[cfg(any(feature = "ort", test))]
pub(super) use same::is_written_as;

/// Bytes that are compared, not written.
#[cfg(any(feature = "ort", test))]
mod same {
    use std::{
        io::{self, Write},
        ptr,
    };

    use super::write;
    use crate::export::onnx::ModelProto;

    /// Whether [`write`] writes these bytes. Weights that are parts of them are not read.
    pub(in crate::export::model) fn is_written_as(model: &ModelProto, bytes: &[u8]) -> bool {
        let mut same = Same { rest: bytes };
        write(model, &mut same).is_ok() && same.rest.is_empty()
    }

    /// Fails where what is written differs.
    struct Same<'b> {
        rest: &'b [u8],
    }

    impl Write for Same<'_> {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            match self.rest.split_at_checked(part.len()) {
                Some((head, rest)) if ptr::eq(head, part) || head == part => {
                    self.rest = rest;
                    Ok(part.len())
                }
                _ => Err(io::Error::other("other bytes")),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

/// An initializer, and all of its encoding but the data, which come last.
struct Weight {
    head: Vec<u8>,
    tensor: TensorProto,
}

impl Weight {
    fn new(mut tensor: TensorProto) -> Self {
        let data = tensor.raw_data.take();
        let mut fields = tensor.encode_to_vec();
        if let Some(data) = &data {
            length_delimited(TENSOR_RAW_DATA, data.len(), &mut fields);
        }
        let mut head = Vec::with_capacity(fields.len() + 16);
        let length = fields.len() + data.as_ref().map_or(0, |data| data.len());
        length_delimited(GRAPH_INITIALIZER, length, &mut head);
        head.append(&mut fields);
        Self { head, tensor: TensorProto { raw_data: data, ..Default::default() } }
    }
}

/// Appends the key and the length of a field.
fn length_delimited(field: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::GraphBuilder;
    use crate::{DType, HostTensor};

    fn written(model: &ModelProto) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(model, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn it_decodes_to_the_same_model() {
        let graph = GraphBuilder::new("sum");
        let mut x = graph.input("x", DType::F32, [200usize]).unwrap();
        // Data of one, of a few and of many bytes, and none.
        for (i, size) in [1usize, 200].into_iter().enumerate() {
            let weight = HostTensor::from_vec([size], vec![0.5f32; size]).unwrap();
            x = x.add(&graph.weight(&format!("w{i}"), weight).unwrap()).unwrap();
        }
        graph.output("y", &x).unwrap();
        graph.metadata("key", "value");
        let mut model = graph.finish().unwrap().proto().clone();
        assert_eq!(ModelProto::decode(&*written(&model)).unwrap(), model);
        assert_eq!(written(&model).len(), model.encoded_len());

        let nothing = TensorProto { name: Some("empty".into()), ..Default::default() };
        let floats = TensorProto { float_data: vec![1.0, 2.0], ..nothing.clone() };
        model.graph.as_mut().unwrap().initializer.extend([nothing, floats]);
        assert_eq!(ModelProto::decode(&*written(&model)).unwrap(), model);
        let bytes = to_vec(&model);
        assert!(is_written_as(&model, &bytes));
        let cases = [bytes[..bytes.len() - 1].to_vec(), [&bytes[..], &[0]].concat()];
        let changed =
            (0..bytes.len()).map(|i| [&bytes[..i], &[!bytes[i]], &bytes[i + 1..]].concat());
        assert!(cases.into_iter().chain(changed).all(|other| !is_written_as(&model, &other)));
        model.graph = None;
        assert_eq!(written(&model), model.encode_to_vec());
    }
}
