//! What all requests share: the models, the limits, the counters, and whether the server is about to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::watch;

use crate::body::Room;
use crate::fail::{Failure, Result};
use crate::heavy::Heavy;
use crate::metrics::Metrics;
use crate::models::Model;
use crate::options::Options;
use crate::shutdown::Phase;
use crate::text::TextModel;
use crate::{Problem, models};

pub(crate) struct Server {
    pub(crate) models: BTreeMap<String, Arc<Model>>,
    pub(crate) text: Option<Arc<TextModel>>,
    pub(crate) metrics: Metrics,
    pub(crate) room: Arc<Room>,
    pub(crate) heavy: Heavy,
    pub(crate) read_limit: Duration,
    pub(crate) phase: watch::Sender<Phase>,
}

impl Server {
    /// Loads all models.
    pub(crate) fn load(options: &Options) -> Result<Self, Problem> {
        let mut all = BTreeMap::new();
        for named in &options.models {
            let model = models::load(named, options)?;
            println!("model {}", model.description());
            if all.insert(named.name.clone(), Arc::new(model)).is_some() {
                return Err(format!("two models are called `{}`", named.name).into());
            }
        }
        let text = match &options.language_model {
            Some(named) => {
                let model = TextModel::load(named, options)?;
                println!("language model {}", model.description());
                Some(Arc::new(model))
            }
            None => None,
        };
        if all.is_empty() && text.is_none() {
            return Err("there is nothing to serve: give --model or --language-model".into());
        }
        Ok(Self {
            models: all,
            text,
            metrics: Metrics::default(),
            room: Arc::new(Room::new(options.max_body, options.max_bodies)),
            heavy: Heavy::default(),
            read_limit: options.read_limit,
            phase: watch::Sender::new(Phase::Serving),
        })
    }

    /// Whether new requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// The model of this name, in the one version that there is.
    pub(crate) fn model(&self, name: &str, version: Option<&str>) -> Result<&Arc<Model>> {
        let missing = |text| Failure::new(StatusCode::NOT_FOUND, text);
        let model = self.models.get(name);
        let model = model.ok_or_else(|| {
            let known = self.models.keys().map(|known| format!("`{known}`")).collect::<Vec<_>>();
            missing(format!("there is no model `{name}`; there are: {}", known.join(", ")))
        })?;
        match version {
            None | Some(models::VERSION) => Ok(model),
            Some(other) => Err(missing(format!("model `{name}` has no version `{other}`"))),
        }
    }
}
