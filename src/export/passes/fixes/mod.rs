//! Faults and refusals of a target, and the form that is written instead: a file each, with the case that shows the fault.

mod automatic_pads;
mod bounds_in_order;
mod edges_of_windows;
mod einsum;
mod elu;
mod gated_activation;
mod group_norm;
mod grouped_conv_transpose;
mod guarded_softmax;
mod known_branches;
mod known_integers;
mod masks_of_keys;
mod stated_outputs;
mod unread_nodes;

pub(super) use automatic_pads::AutomaticPads;
pub(super) use bounds_in_order::BoundsInOrder;
pub(super) use edges_of_windows::EdgesOfWindows;
pub(super) use einsum::SmallLetters;
pub(super) use elu::EluWithRecurrent;
pub(super) use gated_activation::GatedActivation;
pub(super) use group_norm::GroupNormOfOneGroup;
pub(super) use grouped_conv_transpose::GroupedConvTranspose;
pub(super) use guarded_softmax::GuardedSoftmax;
pub(super) use known_branches::KnownBranches;
pub(super) use known_integers::KnownIntegers;
pub(super) use masks_of_keys::MasksOfKeys;
pub(super) use stated_outputs::StatedOutputs;
pub(super) use unread_nodes::UnreadNodes;
pub(super) mod tract;
