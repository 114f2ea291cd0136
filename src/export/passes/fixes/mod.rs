//! What a target computes wrongly, and what is written for it instead: a file each, with the case that shows it.

mod gated_activation;
mod group_norm;
mod grouped_conv_transpose;
mod known_branches;
mod known_integers;

pub(super) use gated_activation::GatedActivation;
pub(super) use group_norm::GroupNormOfOneGroup;
pub(super) use grouped_conv_transpose::GroupedConvTranspose;
pub(super) use known_branches::KnownBranches;
pub(super) use known_integers::KnownIntegers;
pub(super) mod tract;
