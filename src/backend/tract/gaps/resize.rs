//! Where tract's `Resize` takes other corners or another neighbour than ONNX says. tract computes coordinates in 32-bit
//! floats, which at a tie decide for either side.

use super::view::{View, attribute};
use crate::export::onnx::NodeProto;

/// The largest scale.
const LARGEST: f32 = 65536.0;
/// The longest axis whose cells are all looked at.
const LOOKED_AT: usize = 1 << 16;

/// Why tract does not resize as ONNX says; `None` where it does.
pub(super) fn reason(node: &NodeProto, opset: i64, view: &View<'_>) -> Option<&'static str> {
    let text = |name: &str, default: &str| {
        attribute(node, name)
            .map_or(default.into(), |value| String::from_utf8_lossy(value.s()).into_owned())
    };
    let scales = view.constant(node, if opset >= 11 { 2 } else { 1 });
    let scales: Vec<f32> = scales.and_then(|scales| scales.to_vec().ok()).unwrap_or_default();
    if scales.iter().any(|&scale| scale > LARGEST) {
        return Some("the result is too large");
    }
    let coordinates = text("coordinate_transformation_mode", "half_pixel");
    match (&*text("mode", "nearest"), &*coordinates) {
        // Such as PyTorch's: a whole scale of 2 has the cell below nearest by both rules.
        ("nearest", _) if opset < 11 => (scales.is_empty()
            || scales.iter().any(|&scale| scale != 1.0 && scale != 2.0))
        .then_some("tract takes the nearest neighbour, where operator set 10 takes the one below"),
        ("nearest", coordinates) => {
            let nearest = text("nearest_mode", "round_prefer_floor");
            let stable = matches!(
                coordinates,
                "half_pixel" | "pytorch_half_pixel" | "asymmetric" | "tf_half_pixel_for_nn"
            );
            if stable && matches!(&*nearest, "floor" | "ceil") {
                return None;
            }
            let whole = !scales.is_empty() && scales.iter().all(|scale| scale.fract() == 0.0);
            if whole && !matches!(coordinates, "align_corners" | "tf_crop_and_resize") {
                return None;
            }
            let axes = axes(node, view, &scales);
            let right = axes
                .is_some_and(|axes| axes.iter().all(|axis| axis.is_right(coordinates, &nearest)));
            (!right).then_some("tract may take another neighbour where two are equally near")
        }
        (_, "align_corners") => {
            let near = |size: f32| (size - size.round()).abs() <= 1e-6 * size;
            let fits = |(i, &scale): (usize, &f32)| {
                let size = || size_of(node, view, i).is_some_and(|size| near(size as f32 * scale));
                scale.fract() == 0.0 || size()
            };
            (!scales.iter().enumerate().all(fits))
                .then_some("tract resizes by a scale to other corners, where the size times the scale is no whole number")
        }
        ("cubic", "pytorch_half_pixel") => {
            Some("tract resizes to a single point wrongly with these coordinates")
        }
        _ => None,
    }
}

/// The size of the axis that an element of the scales or sizes is for.
fn size_of(node: &NodeProto, view: &View<'_>, i: usize) -> Option<usize> {
    let sizes = view.sizes(node, 0)?;
    let axis = match attribute(node, "axes") {
        Some(axes) => match *axes.ints.get(i)? {
            axis if axis < 0 => usize::try_from(axis + sizes.len() as i64).ok()?,
            axis => usize::try_from(axis).ok()?,
        },
        None => i,
    };
    *sizes.get(axis)?
}

/// One axis: its sizes, the scale that tract goes by, and the exact one as a fraction.
struct Axis {
    from: usize,
    to: usize,
    scale: f32,
    exact: (i128, i128),
}

/// The axes that are resized; `None` where a size is open.
fn axes(node: &NodeProto, view: &View<'_>, scales: &[f32]) -> Option<Vec<Axis>> {
    if !scales.is_empty() {
        let axis = |(i, &scale): (usize, &f32)| {
            let from = size_of(node, view, i)?;
            let to = (from as f32 * scale) as usize;
            // Exact: 24 bits of a number between 2^-24 and 2^16.
            let exact = ((f64::from(scale) * (1u64 << 48) as f64) as i128, 1 << 48);
            (scale > 1e-6 && to > 0).then_some(Axis { from, to, scale, exact })
        };
        return scales.iter().enumerate().map(axis).collect();
    }
    let stretches =
        attribute(node, "keep_aspect_ratio_policy").is_none_or(|policy| policy.s() == b"stretch");
    let sizes = view.ints(node, 3).filter(|_| stretches)?;
    let axis = |(i, size): (usize, i64)| {
        let (from, to) = (size_of(node, view, i)?, usize::try_from(size).ok()?);
        (from > 0 && to > 0).then(|| Axis {
            from,
            to,
            scale: to as f32 / from as f32,
            exact: (to as i128, from as i128),
        })
    };
    sizes.into_iter().enumerate().map(axis).collect()
}

impl Axis {
    /// Whether tract takes each cell from where ONNX does.
    fn is_right(&self, coordinates: &str, nearest: &str) -> bool {
        self.from == self.to && self.scale == 1.0
            || self.to <= LOOKED_AT
                && (0..self.to).all(|cell| {
                    let exact = self.exact_cell(cell, coordinates, nearest);
                    exact.is_some() && exact == self.tract_cell(cell, coordinates, nearest)
                })
    }

    fn clamped(&self, cell: i128) -> usize {
        cell.clamp(0, self.from as i128 - 1) as usize
    }

    /// In whole numbers.
    fn exact_cell(&self, cell: usize, coordinates: &str, nearest: &str) -> Option<usize> {
        let [x, from, to] = [cell, self.from, self.to].map(|size| size as i128);
        let (n, d) = self.exact;
        let (p, q) = match coordinates {
            "asymmetric" => (x * d, n),
            "half_pixel" => ((2 * x + 1) * d - n, 2 * n),
            "pytorch_half_pixel" if to == 1 => (0, 1),
            "pytorch_half_pixel" => ((2 * x + 1) * d - n, 2 * n),
            "tf_half_pixel_for_nn" => ((2 * x + 1) * d, 2 * n),
            "half_pixel_symmetric" => ((from - 1) * n + (2 * x + 1 - to) * d, 2 * n),
            "align_corners" if to == 1 => (0, 1),
            "align_corners" => (x * (from - 1), to - 1),
            _ => return None,
        };
        Some(self.clamped(match nearest {
            "floor" => p.div_euclid(q),
            "ceil" => -(-p).div_euclid(q),
            "round_prefer_floor" => -(q - 2 * p).div_euclid(2 * q),
            "round_prefer_ceil" => (2 * p + q).div_euclid(2 * q),
            _ => return None,
        }))
    }

    /// As tract 0.23 does.
    fn tract_cell(&self, cell: usize, coordinates: &str, nearest: &str) -> Option<usize> {
        let [x, from, to] = [cell, self.from, self.to].map(|size| size as f32);
        let scale = self.scale;
        let x = match coordinates {
            "asymmetric" => x / scale,
            "half_pixel" => (x + 0.5) / scale - 0.5,
            "pytorch_half_pixel" if self.to == 1 => -0.5,
            "pytorch_half_pixel" => (x + 0.5) / scale - 0.5,
            "tf_half_pixel_for_nn" => (x + 0.5) / scale,
            "half_pixel_symmetric" => {
                from / 2.0 * (1.0 - to / (scale * from)) + (x + 0.5) / scale - 0.5
            }
            "align_corners" if scale * from == 1.0 => 0.0,
            "align_corners" => (x * (from - 1.0)) / (scale * from - 1.0),
            _ => return None,
        };
        let below = x.ceil() - 1.0;
        let rest = x - below;
        let above = match nearest {
            "floor" => rest == 1.0,
            "ceil" => true,
            "round_prefer_floor" => rest > 0.5,
            "round_prefer_ceil" => rest >= 0.5,
            _ => return None,
        };
        Some(self.clamped(below as i128 + i128::from(above)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: usize, to: usize) -> Axis {
        Axis { from, to, scale: to as f32 / from as f32, exact: (to as i128, from as i128) }
    }

    #[test]
    fn ties_are_exact_in_whole_numbers() {
        let cells = |axis: &Axis, nearest| -> Vec<usize> {
            (0..axis.to).filter_map(|cell| axis.exact_cell(cell, "half_pixel", nearest)).collect()
        };
        // The coordinates are 7/6, 9/2, 47/6, 67/6, 29/2 and 107/6.
        assert_eq!(cells(&axis(20, 6), "round_prefer_ceil"), [1, 5, 8, 11, 15, 18]);
        assert_eq!(cells(&axis(20, 6), "round_prefer_floor"), [1, 4, 8, 11, 14, 18]);
        assert_eq!(cells(&axis(20, 6), "floor"), [1, 4, 7, 11, 14, 17]);
        assert_eq!(cells(&axis(20, 6), "ceil"), [2, 5, 8, 12, 15, 18]);
        assert_eq!(cells(&axis(2, 4), "floor"), [0, 0, 0, 1]);
        // tract loses the tie at 29/2, and keeps those of halves and quarters.
        assert!(!axis(20, 6).is_right("half_pixel", "round_prefer_ceil"));
        assert!(axis(8, 4).is_right("half_pixel", "round_prefer_ceil"));
        assert!(axis(5, 20).is_right("half_pixel", "round_prefer_floor"));
    }
}
