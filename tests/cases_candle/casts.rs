//! Casts of numbers that the other type does not have: floats go to the nearest that it has, integers keep their
//! lowest bits.

use crate::harness::*;

const FLOATS: [f32; 14] = [
    300.0,
    -1.5,
    f32::NAN,
    255.9,
    0.7,
    -0.7,
    4e9,
    5e9,
    -3e9,
    3e9,
    1e20,
    -1e20,
    f32::INFINITY,
    f32::NEG_INFINITY,
];

const INTEGERS: [i64; 10] =
    [-1, 255, 256, -300, 70_000, -40_000, 5_000_000_000, -5_000_000_000, i64::MAX, i64::MIN];

cases_of! {
    casts_beyond_the_range {
        "to_dtype, floats beyond u8", [values(&FLOATS)], |xs| Ok(vec![xs[0].to_dtype(DType::U8)?]);
        "to_dtype, floats beyond u32", [values(&FLOATS)], |xs| Ok(vec![xs[0].to_dtype(DType::U32)?]);
        "to_dtype, floats beyond i16", [values(&FLOATS)], |xs| Ok(vec![xs[0].to_dtype(DType::I16)?]);
        "to_dtype, floats beyond i32", [values(&FLOATS)], |xs| Ok(vec![xs[0].to_dtype(DType::I32)?]);
        "to_dtype, floats beyond i64", [values(&FLOATS)], |xs| Ok(vec![xs[0].to_dtype(DType::I64)?]);
        "to_dtype, f16 beyond u8", [values(&FLOATS).to_dtype(DType::F16).unwrap()], |xs| Ok(vec![xs[0].to_dtype(DType::U8)?]);
        "to_dtype, f16 beyond u32", [values(&FLOATS).to_dtype(DType::F16).unwrap()], |xs| Ok(vec![xs[0].to_dtype(DType::U32)?]);
        "to_dtype, f64 beyond i64", [values(&FLOATS).to_dtype(DType::F64).unwrap()], except [TensorRtRtx: "TensorRT has no f64"], |xs| {
            Ok(vec![xs[0].to_dtype(DType::I64)?, xs[0].to_dtype(DType::U32)?, xs[0].to_dtype(DType::U8)?])
        };
        "to_dtype, integers beyond u8", [values(&INTEGERS)], |xs| Ok(vec![xs[0].to_dtype(DType::U8)?]);
        "to_dtype, integers beyond u32", [values(&INTEGERS)], |xs| Ok(vec![xs[0].to_dtype(DType::U32)?]);
        "to_dtype, integers beyond i16", [values(&INTEGERS)], |xs| Ok(vec![xs[0].to_dtype(DType::I16)?]);
        "to_dtype, integers beyond i32", [values(&INTEGERS)], |xs| Ok(vec![xs[0].to_dtype(DType::I32)?]);
        "to_dtype, i64 over u32 to f32", [values(&INTEGERS)], |xs| Ok(vec![xs[0].to_dtype(DType::U32)?.to_dtype(DType::F32)?]);
        "to_dtype, u32 to i32", [values(&[u32::MAX, 3_000_000_000, 7])], |xs| Ok(vec![xs[0].to_dtype(DType::I32)?, xs[0].to_dtype(DType::I64)?]);
        "to_dtype, u32 to u8", [values(&[u32::MAX, 3_000_000_001, 256])], |xs| Ok(vec![xs[0].to_dtype(DType::U8)?]);
        "to_dtype, i32 to u32", [values(&[-1i32, i32::MIN, 7])], |xs| Ok(vec![xs[0].to_dtype(DType::U32)?]);
        "to_dtype, u8 to others", [values(&[255u8, 128, 7])], |xs| {
            Ok(vec![xs[0].to_dtype(DType::I64)?, xs[0].to_dtype(DType::U32)?, xs[0].to_dtype(DType::I32)?, xs[0].to_dtype(DType::F16)?])
        };
    }
}
