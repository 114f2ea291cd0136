//! Weights of which a file lists only what is not 0: written whole, since TensorRT and tract read no others.

use crate::error::{Error, ErrorKind, Result};
use crate::export::model::{tensors, walk};
use crate::export::onnx::{
    GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
    attribute_proto::AttributeType,
};

/// A weight of more bytes stays as it is, unless its values take a 1024th of them.
const ROOM: u64 = 16 << 20;

/// Writes the sparse weights of a model whole, in bodies and functions too. Those that would take memory out of
/// proportion to the file stay.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] where indices do not fit, with the weight.
pub(in crate::export::model) fn write_whole(model: &mut ModelProto) -> Result<()> {
    if let Some(graph) = &mut model.graph {
        in_graph(graph)?;
    }
    model.functions.iter_mut().flat_map(|function| &mut function.node).try_for_each(in_node)
}

fn in_graph(graph: &mut GraphProto) -> Result<()> {
    for sparse in std::mem::take(&mut graph.sparse_initializer) {
        match whole(&sparse)? {
            Some(tensor) => graph.initializer.push(tensor),
            None => graph.sparse_initializer.push(sparse),
        }
    }
    graph.node.iter_mut().try_for_each(in_node)
}

fn in_node(node: &mut NodeProto) -> Result<()> {
    if node.is("Constant") {
        let label = walk::label(node);
        let sparse = node.attribute.iter_mut().find(|a| a.name() == "sparse_value");
        if let Some(attribute) = sparse
            && let Some(sparse) = &attribute.sparse_tensor
            && let Some(tensor) = whole(sparse).map_err(|e| e.in_operation(label))?
        {
            attribute.sparse_tensor = None;
            attribute.t = Some(tensor);
            attribute.name = Some("value".into());
            attribute.r#type = Some(AttributeType::Tensor as i32);
        }
    }
    walk::bodies_mut(node).try_for_each(in_graph)
}

/// A sparse tensor with its zeros; `None` for one that stays as it is.
fn whole(sparse: &SparseTensorProto) -> Result<Option<TensorProto>> {
    let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else { return Ok(None) };
    let named = |e: Error| e.on_tensor(walk::short(values.name()));
    let count = tensors::elements(&sparse.dims).map_err(named)?;
    let Some(bits) = tensors::bits(values.data_type()).filter(|bits| bits % 8 == 0) else {
        return Ok(None);
    };
    let data = values.raw_data.clone().unwrap_or_default();
    let (size, bytes) = (bits / 8, count.saturating_mul(bits / 8));
    if bytes > ROOM.saturating_add(1024 * data.len() as u64) {
        return Ok(None);
    }
    let places = places(sparse, indices, count).map_err(named)?;
    let size = size as usize;
    if places.len() * size != data.len() {
        let text = format!("{} indices of {} bytes of values", places.len(), data.len());
        return Err(named(Error::new(ErrorKind::InvalidModel, text)));
    }
    let mut whole = vec![0; bytes as usize];
    for (place, value) in places.into_iter().zip(data.chunks_exact(size)) {
        whole[place * size..][..size].copy_from_slice(value);
    }
    Ok(Some(TensorProto {
        name: values.name.clone(),
        data_type: values.data_type,
        dims: sparse.dims.clone(),
        raw_data: Some(whole.into()),
        ..Default::default()
    }))
}

/// Where the values stand among all elements: an index for each, or one for each axis.
fn places(sparse: &SparseTensorProto, indices: &TensorProto, count: u64) -> Result<Vec<usize>> {
    let invalid = |text: String| Error::new(ErrorKind::InvalidModel, text);
    let raw = indices.raw_data.clone().unwrap_or_default();
    let numbers: Vec<i64> = raw
        .chunks_exact(8)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        .collect();
    let along = |index: i64, size: i64| match (0..size).contains(&index) {
        true => Ok(index),
        false => Err(invalid(format!("the index {index} is outside of {:?}", sparse.dims))),
    };
    match indices.dims[..] {
        [_] => numbers.iter().map(|&i| Ok(along(i, count as i64)? as usize)).collect(),
        [_, axes] if axes == sparse.dims.len() as i64 && axes > 0 => {
            let place = |index: &[i64]| {
                let axes = index.iter().zip(&sparse.dims);
                axes.map(|(&i, &size)| Ok((along(i, size)?, size)))
                    .try_fold(0, |place, axis: Result<_>| axis.map(|(i, size)| place * size + i))
                    .map(|place| place as usize)
            };
            numbers.chunks_exact(sparse.dims.len()).map(place).collect()
        }
        _ => Err(invalid(format!("indices of shape {:?}", indices.dims))),
    }
}
