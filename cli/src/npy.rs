//! NumPy's files: one tensor as `.npy`, several by name as `.npz`. Types that NumPy does not have, such as bfloat16, are
//! refused by name.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use accelerant::{DType, HostTensor};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::fail::{Failure, Result, io};

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy's word for a type, without its byte order.
fn word(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "f4",
        DType::F16 => "f2",
        DType::F64 => "f8",
        DType::I8 => "i1",
        DType::I16 => "i2",
        DType::I32 => "i4",
        DType::I64 => "i8",
        DType::U8 => "u1",
        DType::U16 => "u2",
        DType::U32 => "u4",
        DType::U64 => "u8",
        DType::Bool => "b1",
        _ => return None,
    })
}

/// A tensor from the bytes of a `.npy` file.
pub(crate) fn decode(bytes: &[u8]) -> Result<HostTensor, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as a .npy file")?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err("its version is not 1, 2 or 3".into()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or("its header is cut short")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let descr = field(header, "descr")?.trim_matches(['\'', '"']);
    let big = descr.starts_with('>');
    let kind = descr.trim_start_matches(['<', '>', '|', '=']);
    let dtype = DType::ALL.iter().copied().find(|dtype| word(*dtype) == Some(kind));
    let dtype = dtype.ok_or_else(|| format!("its type `{descr}` is not one of a tensor"))?;
    let sizes = field(header, "shape")?.trim_matches(['(', ')']);
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape =
        sizes.map(|size| size.parse().map_err(|_| format!("its size `{size}` is no number")));
    let shape = shape.collect::<Result<Vec<usize>, String>>()?;
    let count = shape.iter().try_fold(dtype.size(), |n, &size| n.checked_mul(size));
    if count != Some(data.len()) {
        return Err(format!("{dtype} {shape:?} does not fit its {} bytes of values", data.len()));
    }
    let mut data = data.to_vec();
    if big {
        data.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    if field(header, "fortran_order")? == "True" {
        data = row_major(&data, &shape, dtype.size());
    }
    HostTensor::from_bytes(dtype, shape, data).map_err(|e| e.to_string())
}

/// The value of a key in the header, which is a literal of a Python dictionary.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("its header has no `{key}`");
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let rest = quoted.iter().find_map(|key| header.split_once(key.as_str())).ok_or_else(missing)?;
    let value = rest.1.trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = match value.starts_with('(') {
        true => value.find(')').map(|end| end + 1),
        false => value.find([',', '}']),
    };
    Ok(value[..end.ok_or_else(missing)?].trim())
}

/// Elements of the order of columns in the order of rows.
fn row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    for place in 0..data.len() / size {
        let (mut rest, mut from, mut stride) = (place, 0, data.len() / size);
        for &axis in shape.iter().rev() {
            stride /= axis;
            from += rest % axis * stride;
            rest /= axis;
        }
        out.extend_from_slice(&data[from * size..(from + 1) * size]);
    }
    out
}

/// The bytes of a `.npy` file.
pub(crate) fn encode(tensor: &HostTensor) -> Result<Vec<u8>, String> {
    let dtype = tensor.dtype();
    let word = word(dtype).ok_or_else(|| format!("NumPy has no type {dtype}"))?;
    let order = if dtype.size() == 1 { '|' } else { '<' };
    let sizes: String = tensor.shape().iter().map(|size| format!("{size}, ")).collect();
    let shape = match tensor.shape().len() {
        1 => sizes.trim_end(),
        _ => sizes.trim_end_matches(", "),
    };
    let mut header =
        format!("{{'descr': '{order}{word}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The values begin at a multiple of 64 bytes.
    let padding = 63 - (MAGIC.len() + 4 + header.len()) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| "a shape of too many axes")?;
    let mut bytes = [MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes()].concat();
    bytes.extend_from_slice(tensor.bytes());
    Ok(bytes)
}

/// Opens a plain file. A pipe would be waited for, and a device may go on for ever.
fn open(path: &Path) -> Result<File> {
    let failed = |e| io("read", path, e);
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(io("read", path, "it is not a regular file"));
    }
    File::open(path).map_err(failed)
}

/// Reads a `.npy` file.
pub(crate) fn read(path: &Path) -> Result<HostTensor> {
    let mut bytes = Vec::new();
    let mut file = open(path)?;
    // What begins in another way is not read on.
    let start = Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut bytes);
    start.map_err(|e| io("read", path, e))?;
    if bytes.starts_with(b"PK") {
        let text = "it is a .npz file, which --inputs takes";
        return Err(Failure::usage(format!("{}: {text}", path.display())));
    }
    if bytes == MAGIC {
        file.read_to_end(&mut bytes).map_err(|e| io("read", path, e))?;
    }
    decode(&bytes).map_err(|e| io("read", path, e))
}

/// Reads a `.npz` file: tensors by name, in the file's order.
pub(crate) fn read_all(path: &Path) -> Result<Vec<(String, HostTensor)>> {
    let file = open(path)?;
    let mut archive = ZipArchive::new(file).map_err(|e| io("read", path, e))?;
    let mut tensors = Vec::new();
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).map_err(|e| io("read", path, e))?;
        let name = member.name().strip_suffix(".npy").unwrap_or(member.name()).to_owned();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|e| io("read", path, e))?;
        let tensor = decode(&bytes).map_err(|e| io("read", path, format!("`{name}`: {e}")))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// Checks that the name of a file says one of NumPy's forms, or none.
pub(crate) fn expect_name(path: &Path) -> Result<()> {
    match path.extension() {
        Some(other) if other != "npy" && other != "npz" => {
            let text = format!("{} is neither a .npz file nor a .npy file", path.display());
            Err(Failure::usage(text))
        }
        _ => Ok(()),
    }
}

/// Writes a `.npz` file; where there is one tensor and the name ends in `.npy`, a `.npy` file. It is written whole or
/// not at all.
pub(crate) fn write<'a>(
    path: &Path,
    tensors: impl ExactSizeIterator<Item = (&'a str, &'a HostTensor)>,
) -> Result<()> {
    let count = tensors.len();
    let single = path.extension().is_some_and(|extension| extension == "npy");
    if single && count != 1 {
        let text = format!("{count} outputs do not fit a .npy file; write a .npz file");
        return Err(Failure::usage(text));
    }
    let mut bytes = Vec::new();
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, tensor) in tensors {
        bytes = encode(tensor).map_err(|e| io("write", path, format!("`{name}`: {e}")))?;
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        archive.start_file(format!("{name}.npy"), options).map_err(|e| io("write", path, e))?;
        archive.write_all(&bytes).map_err(|e| io("write", path, e))?;
    }
    let all = archive.finish().map_err(|e| io("write", path, e))?.into_inner();
    crate::files::write(path, if single { &bytes } else { &all }).map_err(|e| io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_rank_comes_back_as_it_was() {
        for &dtype in DType::ALL.iter().filter(|dtype| word(**dtype).is_some()) {
            for shape in [vec![], vec![3], vec![0, 2], vec![2, 3], vec![1, 2, 3, 2]] {
                let count = shape.iter().product::<usize>() * dtype.size();
                let bytes: Vec<u8> = (0..count).map(|i| (i % 2) as u8).collect();
                let tensor = HostTensor::from_bytes(dtype, shape, bytes).unwrap();
                let file = encode(&tensor).unwrap();
                assert_eq!((file.len() - count) % 64, 0);
                assert_eq!(decode(&file).unwrap(), tensor);
            }
        }
        let odd = HostTensor::from_bytes(DType::BF16, [1], vec![0, 0]).unwrap();
        assert_eq!(encode(&odd).unwrap_err(), "NumPy has no type bf16");
    }

    /// A file as NumPy writes one, with any header.
    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), values].concat()
    }

    #[test]
    fn columns_first_and_the_largest_byte_first_are_read() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let values: Vec<u8> = [0, 3, 1, 4, 2, 5].into_iter().flat_map(i16::to_be_bytes).collect();
        let tensor = decode(&file(header, &values)).unwrap();
        assert_eq!(tensor.shape(), [2, 3]);
        assert_eq!(tensor.to_vec::<i16>().unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_no_tensor_is_told() {
        let rows = [
            (b"hello".to_vec(), "does not begin"),
            (file("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]), "`<c8`"),
            (file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 4]), "4 bytes"),
            (file("{'descr': '<f4', 'fortran_order': False, }", &[0; 4]), "`shape`"),
            ([MAGIC, &[1, 0, 255, 255]].concat(), "cut short"),
        ];
        for (bytes, expected) in rows {
            let error = decode(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
