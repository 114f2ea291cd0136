//! What a `config.json` says of rotary positions, and of the layers that have windows.
//!
//! transformers writes `rope_parameters` and `layer_types` from version 5 on. Older files have `rope_theta`, `rope_scaling` and
//! numbers from which the layers follow.

use serde_json::{Map, Value};

use super::families::{Fields, invalid};
use super::{Rotary, RotaryScaling, Window};
use crate::error::Result;

/// The layers that see the whole text, as `layer_types` and `rope_parameters` name them.
pub(super) const WHOLE: &str = "full_attention";
/// The layers with a window.
pub(super) const SLIDING: &str = "sliding_attention";

/// The positions of the layers of one type.
pub(super) fn rotary(fields: &Fields<'_>, layers: &str, head_size: usize) -> Result<Rotary> {
    let empty = Map::new();
    let own = Fields(parameters(fields, layers)?.unwrap_or(&empty));
    let either = |name| own.optional(name).or_else(|| fields.optional(name));
    // Layers with windows have a base of their own, in the files of all versions.
    let theta = match layers {
        SLIDING => own.optional("rope_theta").or_else(|| fields.optional("rope_local_base_freq")),
        _ => either("rope_theta"),
    };
    let mut rotary = Rotary::whole(theta.unwrap_or(10_000.0), head_size);
    rotary.size = (head_size as f64 * either("partial_rotary_factor").unwrap_or(1.0)) as usize;
    rotary.scaling = scaling(&own, fields)?;
    Ok(rotary)
}

/// What `rope_parameters`, or before version 5 `rope_scaling`, has for layers of one type.
fn parameters<'a>(fields: &'a Fields<'_>, layers: &str) -> Result<Option<&'a Map<String, Value>>> {
    let Some(all) = fields.get("rope_parameters") else {
        let all = fields.get("rope_scaling").map(|all| object("rope_scaling", all)).transpose();
        return Ok(all?.filter(|_| layers == WHOLE));
    };
    let all = object("rope_parameters", all)?;
    match all.get(layers) {
        Some(own) => object(layers, own).map(Some),
        None if all.values().any(Value::is_object) => {
            Err(invalid(format!("`rope_parameters` has nothing for `{layers}`")))
        }
        None => Ok(Some(all)),
    }
}

fn object<'a>(name: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| invalid(format!("`{name}` is no object: {value}")))
}

fn scaling(own: &Fields<'_>, fields: &Fields<'_>) -> Result<Option<RotaryScaling>> {
    let trained = |fields: &Fields<'_>| fields.size("original_max_position_embeddings");
    let kind = own.get("rope_type").or_else(|| own.get("type"));
    Ok(match kind.and_then(Value::as_str).unwrap_or("default") {
        "default" => None,
        "linear" => Some(RotaryScaling::Linear(own.float("factor", 1.0))),
        "llama3" => Some(RotaryScaling::Llama3 {
            factor: own.float("factor", 8.0),
            low: own.float("low_freq_factor", 1.0),
            high: own.float("high_freq_factor", 4.0),
            trained: trained(own)?,
        }),
        // The first checkpoints of Phi-3 say `su`.
        "longrope" | "su" => {
            let trained = trained(own).or_else(|_| trained(fields))?;
            let longest = fields.number("max_position_embeddings", trained)?;
            // What transformers takes: the factor of the file, or the ratio of the lengths where both are there.
            let ratio = longest as f64 / trained as f64;
            let factor = own.float("factor", ratio);
            let scale = match factor <= 1.0 {
                true => 1.0,
                false => (1.0 + factor.ln() / (trained as f64).ln()).sqrt(),
            };
            Some(RotaryScaling::LongRope {
                short: numbers(own, "short_factor")?,
                long: numbers(own, "long_factor")?,
                trained,
                attention: own.float("attention_factor", scale),
            })
        }
        other => return Err(invalid(format!("the rotary scaling `{other}` is not supported"))),
    })
}

fn numbers(fields: &Fields<'_>, name: &str) -> Result<Vec<f64>> {
    let all = fields.get(name).and_then(Value::as_array);
    let all = all.ok_or_else(|| invalid(format!("`{name}` is missing")))?;
    let number = |value: &Value| {
        value.as_f64().ok_or_else(|| invalid(format!("`{name}` has no number: {value}")))
    };
    all.iter().map(number).collect()
}

/// The window of `layers` layers. Where the file has no `layer_types`, `whole` says which layers, counted from 0, see all.
pub(super) fn window(
    fields: &Fields<'_>,
    layers: usize,
    whole: impl Fn(usize) -> bool,
) -> Result<Option<Window>> {
    let types = layer_types(fields, layers)?;
    if fields.get("sliding_window").is_none() && types.is_none() {
        return Ok(None);
    }
    let whole: Vec<usize> = match &types {
        Some(sliding) => (0..layers).filter(|&layer| !sliding[layer]).collect(),
        None => (0..layers).filter(|&layer| whole(layer)).collect(),
    };
    if whole.len() == layers {
        return Ok(None);
    }
    Ok(Some(Window { size: fields.size("sliding_window")?, whole }))
}

/// Whether each layer has a window.
fn layer_types(fields: &Fields<'_>, layers: usize) -> Result<Option<Vec<bool>>> {
    let Some(types) = fields.get("layer_types") else { return Ok(None) };
    let types = types.as_array().map(Vec::as_slice).unwrap_or_default();
    if types.len() != layers {
        let got = types.len();
        return Err(invalid(format!("`layer_types` has {got} entries for {layers} layers")));
    }
    let sliding = |kind: &Value| match kind.as_str() {
        Some(WHOLE) => Ok(false),
        Some(SLIDING) => Ok(true),
        _ => Err(invalid(format!("the layer type {kind} is not known"))),
    };
    types.iter().map(sliding).collect::<Result<_>>().map(Some)
}

/// The layers without positions, of SmolLM3.
pub(super) fn without_positions(fields: &Fields<'_>, layers: usize) -> Result<Vec<usize>> {
    let every = fields.number("no_rope_layer_interval", 4)?;
    if every == 0 {
        return Err(invalid("`no_rope_layer_interval` is 0".into()));
    }
    let Some(has) = fields.get("no_rope_layers").and_then(Value::as_array) else {
        return Ok((0..layers).filter(|layer| (layer + 1).is_multiple_of(every)).collect());
    };
    if has.len() != layers {
        let got = has.len();
        return Err(invalid(format!("`no_rope_layers` has {got} entries for {layers} layers")));
    }
    Ok((0..layers).filter(|&layer| has[layer].as_i64() == Some(0)).collect())
}
