//! Models from files, each valid or nearly so: opened, run on every backend that is here, and compared with
//! what ONNX Runtime gives. TensorRT-RTX builds them. Each runs in a process of its own, since a backend
//! that ends its process must not end this one.
//!
//! `tests/data/import/cases/index.json` lists the models with the sizes to bind, inputs and outputs;
//! `hostile` has models on which a consumer was seen to end its process.

mod checks;
mod child;
mod empty;
mod hostile;
mod opening;
mod tables;
