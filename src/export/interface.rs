//! What a framework's code sees of a model beside its signature: the framework's own types, and how many tensors a list has.
//! The metadata of an ONNX model has it, and the header of an engine. No framework's own types.

use super::OnnxModel;
#[cfg(any(feature = "burn", feature = "candle"))]
pub(crate) use of_framework::Interface;

/// The key in the metadata of a model.
const KEY: &str = "accelerant.interface";

impl OnnxModel {
    /// The text of the interface that the framework's export wrote.
    pub(crate) fn interface(&self) -> Option<&str> {
        let entry = self.proto().metadata_props.iter().rev().find(|entry| entry.key() == KEY)?;
        Some(entry.value())
    }
}

#[cfg(any(feature = "burn", feature = "candle"))]
mod of_framework {
    use serde::{Deserialize, Serialize};

    use crate::export::GraphBuilder;
    use crate::spec::Signature;

    /// The interface of a model in its framework.
    #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
    pub(crate) struct Interface {
        /// The framework's name.
        pub(crate) framework: String,
        /// The framework's types of the inputs, by their names.
        pub(crate) inputs: Vec<String>,
        /// The framework's types of the outputs.
        pub(crate) outputs: Vec<String>,
        /// How many tensors there are in each part of the inputs whose length its type leaves open.
        #[serde(default)]
        pub(crate) input_lengths: Vec<usize>,
        /// The same of the outputs.
        #[serde(default)]
        pub(crate) output_lengths: Vec<usize>,
    }

    impl Interface {
        /// Writes the interface into the metadata of a model.
        pub(crate) fn write(&self, graph: &GraphBuilder) {
            let text = serde_json::to_string(self).expect("names and numbers are JSON");
            graph.metadata(super::KEY, text);
        }

        /// The interface in its text, if it is of this framework and fits the signature. Anybody may have written the
        /// text.
        pub(crate) fn read(text: &str, framework: &str, signature: &Signature) -> Option<Self> {
            let read: Self = serde_json::from_str(text).ok()?;
            let counts = (read.inputs.len(), read.outputs.len());
            let fits = counts == (signature.inputs.len(), signature.outputs.len());
            (fits && read.framework == framework).then_some(read)
        }
    }
}
