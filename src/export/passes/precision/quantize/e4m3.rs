//! The 8-bit floats E4M3 (Micikevicius et al., "FP8 Formats for Deep Learning", 2022).

/// The nearest E4M3, the one with an even mantissa of two, and the largest for what is beyond.
pub(super) fn e4m3(value: f32) -> u8 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return sign | 0x7f;
    }
    // The least step is that of the numbers below 2^-6.
    let exponent = (magnitude.log2().floor().max(-6.0)) as i32;
    let step = 2f32.powi(exponent - 3);
    let count = (magnitude / step).round_ties_even();
    let (exponent, count) = if count >= 16.0 { (exponent + 1, 8.0) } else { (exponent, count) };
    let code =
        if count < 8.0 { count as u32 } else { ((exponent + 7) as u32) << 3 | (count as u32 - 8) };
    sign | code.min(0x7e) as u8
}

/// The number of a code of E4M3.
pub(super) fn of_e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_8_bit_float_is_its_own_nearest() {
        for code in (0u8..=255).filter(|code| code & 0x7f != 0x7f) {
            assert_eq!(e4m3(of_e4m3(code)), code, "{code:#x} is {}", of_e4m3(code));
        }
        assert_eq!(of_e4m3(0x7e), 448.0);
        assert_eq!([e4m3(1e9), e4m3(-1e9), e4m3(449.0), e4m3(1e-9)], [0x7e, 0xfe, 0x7e, 0]);
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest_and_a_tie_to_the_even_one() {
        for code in 0u8..0x7e {
            let (low, high) = (of_e4m3(code), of_e4m3(code + 1));
            let middle = (low + high) / 2.0;
            assert_eq!(e4m3(middle - (high - low) / 8.0), code, "below {middle}");
            assert_eq!(e4m3(middle + (high - low) / 8.0), code + 1, "above {middle}");
            assert_eq!(e4m3(middle), code + (code & 1), "{middle}");
        }
    }
}
