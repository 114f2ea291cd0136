//! The weights of a graph: in the order in which they came, and found by name.

use std::{collections::HashMap, sync::Arc};

use crate::tensor::HostTensor;

/// Named tensors. A name stands for one.
#[derive(Clone, Debug, Default)]
pub(in crate::export) struct Weights {
    all: Vec<(Arc<str>, HostTensor)>,
    places: HashMap<Arc<str>, usize>,
}

impl Weights {
    pub(in crate::export) fn push(&mut self, name: Arc<str>, tensor: HostTensor) {
        self.places.insert(name.clone(), self.all.len());
        self.all.push((name, tensor));
    }

    pub(in crate::export) fn get(&self, name: &str) -> Option<&HostTensor> {
        self.places.get(name).map(|&place| &self.all[place].1)
    }

    pub(in crate::export) fn iter(&self) -> impl Iterator<Item = &(Arc<str>, HostTensor)> {
        self.all.iter()
    }
}
