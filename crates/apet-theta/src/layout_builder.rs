//! From a method to the deltas of theta: what a method may ask for, and what it adds to.

use std::collections::HashSet;
use std::sync::Arc;

use apet_plm::{InsertionPoint, InsertionPointId, ModelArchitecture, Site, SiteId};
use apet_record::{SpecError, SubLayer};
use burn::tensor::Device;

use crate::{
    delta::{Attached, Delta},
    pool::Placed,
    weight::{AttachPoint, Target, Weight},
};

/// The part of a model that a run's forward pass uses, and what a method may ask for.
pub struct BuildContext<'a> {
    /// The model.
    pub architecture: &'a ModelArchitecture,
    /// Whether the run's forward pass uses a site.
    pub site: &'a dyn Fn(&Site) -> bool,
    /// Whether the run's forward pass uses an insertion point.
    pub insertion_point: &'a dyn Fn(&InsertionPoint) -> bool,
    /// Seed of the placement stream.
    pub placement: u64,
    /// Places that were chosen by values or gradients.
    pub chosen: Option<&'a Placed>,
    /// Where places are kept.
    pub device: &'a Device,
}

impl BuildContext<'_> {
    /// The used sites, with their numbers.
    pub fn sites(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        let all = self.architecture.sites.iter().enumerate();
        all.filter(|(_, site)| (self.site)(site))
    }

    /// The used insertion points that follow a sub-layer, with their numbers.
    pub fn insertion_points(
        &self,
    ) -> impl Iterator<Item = (InsertionPointId, &InsertionPoint, SubLayer)> {
        let all = self.architecture.insertion_points.iter().enumerate();
        all.filter(|(_, place)| (self.insertion_point)(place))
            .filter_map(|(id, place)| place.after.map(|after| (id, place, after)))
    }

    /// The used linear layers that a list of targets names.
    ///
    /// # Errors
    /// When a target names none.
    pub fn linear(
        &self,
        targets: &[String],
        field: &str,
    ) -> Result<Vec<(SiteId, &Site)>, SpecError> {
        let linear = || self.sites().filter(|(_, s)| s.linear_layer().is_some());
        for target in targets {
            if !linear().any(|(_, site)| is_target(site, target)) {
                return Err(self.no_target(target, field));
            }
        }
        let named = |site: &Site| targets.iter().any(|target| is_target(site, target));
        Ok(linear().filter(|(_, site)| named(site)).collect())
    }

    fn no_target(&self, target: &str, field: &str) -> SpecError {
        let mut known: Vec<String> = self
            .sites()
            .filter_map(|(_, site)| site.linear_layer())
            .filter_map(|name| name.rsplit('.').next().map(str::to_owned))
            .collect();
        known.sort_unstable();
        known.dedup();
        SpecError {
            field: field.into(),
            problem: format!(
                "\"{target}\" is no linear layer of this model, expected one of {}",
                known.join(", ")
            ),
        }
    }
}

/// The deltas of theta as they are added, before they have values.
#[derive(Default)]
pub struct LayoutBuilder {
    /// All deltas.
    pub deltas: Vec<Attached>,
    /// The tensors of all deltas.
    pub weights: Vec<Weight>,
    /// Parameters that the methods ask for, or that they have by their form.
    pub requested_parameters: u64,
    /// Scalars that selectors selected from; 0 if there was no selection.
    pub candidates: u64,
    /// Why theta has fewer parameters than requested; empty if it has not.
    pub note: String,
    offset: usize,
}

impl LayoutBuilder {
    /// Adds a delta at an attach point.
    pub fn push(&mut self, at: AttachPoint, target: Target<'_>, delta: impl Delta + 'static) {
        self.add(at, target, Arc::new(delta));
    }

    /// As [`LayoutBuilder::push`].
    pub fn add(&mut self, at: AttachPoint, target: Target<'_>, delta: Arc<dyn Delta>) {
        let (first, number) = (self.weights.len(), self.deltas.len());
        for tensor in delta.tensors(target) {
            let mut name = tensor.name;
            // Two methods of one theta may add the same delta at the same point.
            if self.weights.iter().any(|w| w.name == name) {
                let copies = self.weights.iter();
                let copies = copies.filter(|w| w.name.split('#').next() == Some(&name));
                name = format!("{name}#{}", copies.count() + 1);
            }
            let weight = Weight {
                name,
                at,
                part: tensor.part,
                delta: number,
                shape: tensor.shape,
                initial: tensor.initial,
                offset: self.offset,
            };
            self.offset += weight.len();
            self.weights.push(weight);
        }
        let weights = first..self.weights.len();
        self.deltas.push(Attached { at, delta, weights });
    }

    /// The number of scalars of all deltas.
    pub fn parameters(&self) -> u64 {
        self.offset as u64
    }

    /// Refuses two deltas at one site that cannot both act on its tensor.
    ///
    /// # Errors
    /// Names the tensor.
    pub fn check_exclusive(&self) -> Result<(), SpecError> {
        let mut seen = HashSet::new();
        let exclusive = self.deltas.iter();
        let mut exclusive = exclusive.filter(|attached| attached.delta.kind().exclusive);
        match exclusive.find(|attached| !seen.insert(attached.at)) {
            Some(twice) => {
                let name = &self.weights[twice.weights.start].name;
                Err(SpecError {
                    field: "method.parts".into(),
                    problem: format!(
                        "{} is tuned as a whole by two of them, expected one",
                        name.split('#').next().unwrap_or_default()
                    ),
                })
            }
            None => Ok(()),
        }
    }
}

/// Builds the deltas of a method.
pub trait BuildDeltas {
    /// Adds the deltas to a layout; `number` tells the methods of one theta apart.
    ///
    /// # Errors
    /// Names the field that does not fit the model.
    fn build(
        &self,
        number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError>;

    /// The number of parameters the method asks for; none if that is what it has.
    fn requested(&self, _context: &BuildContext<'_>) -> Option<u64> {
        None
    }
}

/// Whether a target names a site's linear layer: its part, the end of its name, the fused layer that it is
/// a part of (BLOOM's `query_key_value`, as peft has it), or all.
fn is_target(site: &Site, target: &str) -> bool {
    let Some(layer) = site.linear_layer() else {
        return false;
    };
    match target {
        // As in peft: every linear layer but a head.
        "all-linear" => site.layer.is_some(),
        part if part == site.part.name() => true,
        name => {
            let fused = layer.split('[').next().unwrap_or_default();
            let end = format!(".{name}");
            [layer.as_str(), fused]
                .iter()
                .any(|layer| *layer == name || layer.ends_with(&end))
        }
    }
}
