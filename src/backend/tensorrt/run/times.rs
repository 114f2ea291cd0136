//! How long each layer of an engine takes, on a context of its own that TensorRT's profiler watches.

use super::EngineExecutable;
use super::described::Described;
use super::graphs::Wanted;
use crate::backend::tensorrt::ffi::{LayerTime as Told, bind};
use crate::backend::{Executable as _, LayerTime};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

impl EngineExecutable {
    /// The layers in the order in which they run, each with the median and the mean of its times.
    pub(super) fn times_of_layers(
        &self,
        inputs: &[HostTensor],
        runs: usize,
    ) -> Result<Vec<LayerTime>> {
        let signature = self.signature();
        let shapes = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
        signature.check_inputs(shapes.clone())?;
        signature.check_not_empty(shapes)?;
        let values = self.values_of(inputs);
        bind(self.cuda())?;
        // A profiler changes a context for good, and a captured graph has no events between its kernels.
        let mut slot = self.slot_with(Wanted::Never)?;
        slot.set_timed()?;
        // The first run compiles and loads kernels.
        slot.run(self.model(), inputs, &values, self.counted())?;
        slot.take_times()?;
        let mut all = Vec::with_capacity(runs);
        for _ in 0..runs.max(1) {
            slot.run(self.model(), inputs, &values, self.counted())?;
            all.push(slot.take_times()?);
        }
        // The times are right without it too.
        let told = self.described().unwrap_or_default();
        let described = Described::of(&told);
        Ok(medians(&all)?.into_iter().map(|layer| described.completed(layer)).collect())
    }
}

/// Each layer of the runs, which must have the same layers.
fn medians(runs: &[Vec<Told>]) -> Result<Vec<LayerTime>> {
    let first = runs.first().map_or(&[][..], |run| run);
    let same = |run: &Vec<Told>| {
        run.len() == first.len() && run.iter().zip(first).all(|(one, other)| one.name == other.name)
    };
    if !runs.iter().all(same) {
        let text = "the library did not tell the same layers in each run";
        return Err(Error::new(ErrorKind::Execution, text));
    }
    let layers = first.iter().enumerate().map(|(i, layer)| {
        let mut times: Vec<f32> = runs.iter().map(|run| run[i].ms).collect();
        times.sort_by(f32::total_cmp);
        let mean = times.iter().copied().map(f64::from).sum::<f64>() / times.len() as f64;
        let micros = f64::from(times[times.len() / 2]) * 1e3;
        LayerTime::new(layer.name.clone(), micros, mean * 1e3)
    });
    Ok(layers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(layers: &[(&str, f32)]) -> Vec<Told> {
        layers.iter().map(|(name, ms)| Told { name: (*name).into(), ms: *ms }).collect()
    }

    #[test]
    fn a_layer_has_the_median_and_the_mean_of_its_times() {
        let runs = [
            run(&[("a", 1.0), ("b", 5.0)]),
            run(&[("a", 3.0), ("b", 4.0)]),
            run(&[("a", 2.0), ("b", 9.0)]),
        ];
        let found = medians(&runs).expect("the layers are the same");
        let told = |layer: &LayerTime| (layer.name.clone(), layer.micros, layer.mean_micros);
        let found: Vec<_> = found.iter().map(told).collect();
        assert_eq!(found, [("a".into(), 2000.0, 2000.0), ("b".into(), 5000.0, 6000.0)]);
    }

    #[test]
    fn runs_of_other_layers_are_refused() {
        assert!(medians(&[run(&[("a", 1.0)]), run(&[("b", 1.0)])]).is_err());
        assert!(medians(&[run(&[("a", 1.0)]), run(&[])]).is_err());
    }
}
