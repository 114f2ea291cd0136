//! The same models, as `traced!` reads them.

use crate::harness::{Case, Model, config, ids, image, noise};
use crate::models;

include!("traced.in");
include!("case.in");
include!("few.in");
