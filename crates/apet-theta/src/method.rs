//! Methods: each a short recipe that lists the weights of theta.

use std::collections::HashSet;

use apet_kernels::SparseIndex;
use apet_plm::{INPUT, InsertionPoint, InsertionPointId, ModelArchitecture, Site, SiteId};
use apet_record::{Method, SpecError, SubLayer};
use burn::tensor::Device;

use crate::{
    apet::{self, Placed},
    budget,
    pool::Pool,
    weight::{AdapterPart, AttachPoint, Initial, Structure, Weight},
};

/// Standard deviation of the head's initial weight, as in transformers.
const HEAD_DEVIATION: f64 = 0.02;

/// The part of a model that a run's forward pass uses, and what a recipe may ask for.
pub(crate) struct Ground<'a> {
    pub(crate) architecture: &'a ModelArchitecture,
    pub(crate) site: &'a dyn Fn(&Site) -> bool,
    pub(crate) place: &'a dyn Fn(&InsertionPoint) -> bool,
    /// Seed of the placement stream.
    pub(crate) placement: u64,
    /// Places that were chosen by values or gradients.
    pub(crate) chosen: Option<&'a Placed>,
    /// Where places are kept.
    pub(crate) device: &'a Device,
}

impl Ground<'_> {
    /// The used sites, with their numbers.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        let all = self.architecture.sites.iter().enumerate();
        all.filter(|(_, site)| (self.site)(site))
    }

    /// The used places behind a sub-layer, with their numbers.
    pub(crate) fn places(
        &self,
    ) -> impl Iterator<Item = (InsertionPointId, &InsertionPoint, SubLayer)> {
        let all = self.architecture.insertion_points.iter().enumerate();
        all.filter(|(_, place)| (self.place)(place))
            .filter_map(|(id, place)| place.after.map(|after| (id, place, after)))
    }

    /// The used linear layers that a list of targets names.
    ///
    /// # Errors
    /// When a target names none.
    pub(crate) fn linear(
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

/// What a method tunes, before values are given.
#[derive(Default)]
pub(crate) struct Recipe {
    pub(crate) weights: Vec<Weight>,
    /// Parameters that were asked for, or that a method has by its form.
    pub(crate) requested_parameters: u64,
    /// Scalars of the pool they were drawn from; 0 where none were drawn.
    pub(crate) pool: u64,
    /// Why fewer are tuned than asked for; empty where they are not.
    pub(crate) note: String,
    offset: usize,
}

impl Recipe {
    pub(crate) fn push(
        &mut self,
        name: impl Into<String>,
        at: AttachPoint,
        structure: Structure,
        shape: Vec<usize>,
        initial: Initial,
    ) {
        let mut name = name.into();
        // Two methods of one theta may add the same thing at the same place.
        if self.weights.iter().any(|w| w.name == name) {
            let copies = self.weights.iter();
            let copies = copies.filter(|w| w.name.split('#').next() == Some(&name));
            name = format!("{name}#{}", copies.count() + 1);
        }
        let weight = Weight {
            name,
            at,
            structure,
            shape,
            initial,
            offset: self.offset,
        };
        self.offset += weight.len();
        self.weights.push(weight);
    }

    /// The site's whole tensor.
    pub(crate) fn own(&mut self, id: SiteId, site: &Site) {
        let shape = site.shape.clone();
        self.push(
            &site.name,
            AttachPoint::Site(id),
            Structure::Owned,
            shape,
            Initial::Frozen,
        );
    }

    /// Values at `positions` of a site.
    pub(crate) fn sparse(&mut self, id: SiteId, site: &Site, positions: Vec<u64>, device: &Device) {
        let index = Box::new(index(site, &positions, device));
        let (name, shape) = (format!("{}.sparse", site.name), vec![positions.len()]);
        let structure = Structure::Sparse { positions, index };
        self.push(name, AttachPoint::Site(id), structure, shape, Initial::Zero);
    }

    /// A low-rank delta on a linear layer.
    pub(crate) fn low_rank(&mut self, id: SiteId, site: &Site, rank: usize, scale: f64) {
        let (outputs, inputs) = (site.shape[0], site.shape[1]);
        let name = |part: &str| format!("{}.{part}", site.name);
        // Kaiming-uniform with a = sqrt(5), as in peft.
        let bound = (inputs as f64).powf(-0.5);
        let (a, b) = (vec![rank, inputs], vec![outputs, rank]);
        let uniform = Initial::Uniform { bound };
        let at = AttachPoint::Site(id);
        self.push(name("lora_A"), at, Structure::LowRankA, a, uniform);
        let structure = Structure::LowRankB { scale };
        self.push(name("lora_B"), at, structure, b, Initial::Zero);
    }

    /// Scalars inside the factors of a low-rank delta.
    pub(crate) fn low_rank_scalars(
        &mut self,
        id: SiteId,
        site: &Site,
        (rank, scale): (usize, f64),
        (a, b): (Vec<u64>, Vec<u64>),
        device: &Device,
    ) {
        let (outputs, inputs) = (site.shape[0], site.shape[1]);
        let shape = vec![a.len() + b.len()];
        let index = Box::new([
            SparseIndex::new(rank, inputs, &a, device),
            SparseIndex::new(outputs, rank, &b, device),
        ]);
        let structure = Structure::LowRankScalars {
            rank,
            scale,
            a,
            b,
            index,
        };
        let name = format!("{}.lora_scalars", site.name);
        self.push(name, AttachPoint::Site(id), structure, shape, Initial::Zero);
    }

    /// A bias where a linear layer has none.
    pub(crate) fn bias(&mut self, id: SiteId, site: &Site) {
        let (name, shape) = (layer_name(site, "bias"), vec![site.shape[0]]);
        self.push(
            name,
            AttachPoint::Site(id),
            Structure::Bias,
            shape,
            Initial::Zero,
        );
    }

    /// A scale of a linear layer's output.
    pub(crate) fn scale_output(&mut self, id: SiteId, site: &Site) {
        let (name, shape) = (layer_name(site, "scale_output"), vec![site.shape[0]]);
        self.push(
            name,
            AttachPoint::Site(id),
            Structure::ScaleOutput,
            shape,
            Initial::One,
        );
    }

    /// A scale of a linear layer's input.
    pub(crate) fn scale_input(&mut self, id: SiteId, site: &Site) {
        let (name, shape) = (layer_name(site, "scale_input"), vec![site.shape[1]]);
        self.push(
            name,
            AttachPoint::Site(id),
            Structure::ScaleInput,
            shape,
            Initial::One,
        );
    }

    /// Virtual tokens at a place.
    pub(crate) fn prompt(
        &mut self,
        id: InsertionPointId,
        place: &InsertionPoint,
        tokens: usize,
        deviation: f64,
    ) {
        let shape = vec![tokens, place.width];
        let normal = Initial::Normal { deviation };
        self.push(
            &place.name,
            AttachPoint::InsertionPoint(id),
            Structure::Prompt,
            shape,
            normal,
        );
    }

    /// A classification head on states of a width.
    pub(crate) fn head(&mut self, classes: usize, width: usize) {
        let normal = Initial::Normal {
            deviation: HEAD_DEVIATION,
        };
        let shape = vec![classes, width];
        self.push(
            "head.weight",
            AttachPoint::Head,
            Structure::HeadWeight,
            shape,
            normal,
        );
        let shape = vec![classes];
        self.push(
            "head.bias",
            AttachPoint::Head,
            Structure::HeadBias,
            shape,
            Initial::Zero,
        );
    }

    /// A bottleneck adapter.
    pub(crate) fn adapter(
        &mut self,
        id: InsertionPointId,
        place: &InsertionPoint,
        bottleneck: usize,
        deviation: f64,
    ) {
        for part in AdapterPart::ALL {
            let initial = match part {
                AdapterPart::DownWeight | AdapterPart::UpWeight => Initial::Normal { deviation },
                AdapterPart::DownBias | AdapterPart::UpBias => Initial::Zero,
            };
            let name = format!("{}.{}", place.name, part.name());
            let shape = part.shape(bottleneck, place.width);
            self.push(
                name,
                AttachPoint::InsertionPoint(id),
                Structure::Adapter(part),
                shape,
                initial,
            );
        }
    }
}

/// The name of what is put at a linear layer.
fn layer_name(site: &Site, what: &str) -> String {
    format!("{}.{what}", site.linear_layer().unwrap_or_default())
}

/// The recipe of a method on a model.
///
/// # Errors
/// Names the field that does not fit the model.
pub(crate) fn recipe(method: &Method, ground: &Ground<'_>) -> Result<Recipe, SpecError> {
    let mut recipe = Recipe::default();
    for (number, part) in method.parts().iter().enumerate() {
        let before = recipe.offset as u64;
        add(part, number, ground, &mut recipe)?;
        recipe.requested_parameters += match part {
            Method::Apet(apet_record::Apet { count, .. }) => {
                budget::count(*count, ground.architecture)
            }
            _ => recipe.offset as u64 - before,
        };
    }
    // Deltas add up, but only one copy can stand in a tensor's place.
    let mut owned = HashSet::new();
    let is_owned = |w: &&Weight| matches!(w.structure, Structure::Owned);
    match recipe
        .weights
        .iter()
        .filter(is_owned)
        .find(|w| !owned.insert(w.at))
    {
        Some(twice) => Err(SpecError {
            field: "method.parts".into(),
            problem: format!(
                "{} is tuned as a whole by two of them, expected one",
                twice.name.split('#').next().unwrap_or_default()
            ),
        }),
        None => Ok(recipe),
    }
}

/// Adds what a method tunes; `number` tells the methods of one theta apart.
fn add(
    method: &Method,
    number: usize,
    ground: &Ground<'_>,
    recipe: &mut Recipe,
) -> Result<(), SpecError> {
    match method {
        Method::Head(_) | Method::Combined(_) => {}
        Method::Full(apet_record::Full { pool: None }) => {
            ground.sites().for_each(|(id, site)| recipe.own(id, site))
        }
        Method::Full(apet_record::Full { pool: Some(pool) }) => {
            let sites = &ground.architecture.sites;
            for &(id, _) in Pool::new(sites, ground.site, pool)?.sites() {
                recipe.own(id, &sites[id]);
            }
        }
        Method::LayerNorm(_) => ground
            .sites()
            .filter(|(_, site)| site.part == apet_record::Part::Norm)
            .for_each(|(id, site)| recipe.own(id, site)),
        Method::Bitfit(_) => {
            let biases = || ground.sites().filter(|(_, site)| site.is_bias());
            biases().for_each(|(id, site)| recipe.own(id, site));
            if biases().next().is_none() {
                let linear = ground.sites().filter(|(_, s)| s.linear_layer().is_some());
                linear.for_each(|(id, site)| recipe.bias(id, site));
            }
        }
        Method::Lora(apet_record::Lora {
            rank,
            alpha,
            targets,
        }) => {
            let scale = alpha / *rank as f64;
            for (id, site) in ground.linear(targets, "method.targets")? {
                recipe.low_rank(id, site, *rank, scale);
            }
        }
        Method::Prompt(apet_record::Prompt { tokens, deviation }) => {
            let place = &ground.architecture.insertion_points[INPUT];
            recipe.prompt(INPUT, place, *tokens, *deviation);
        }
        Method::Adapter(apet_record::Adapter {
            bottleneck,
            deviation,
            after,
        }) => {
            for (id, place, behind) in ground.places() {
                if after.contains(&behind) {
                    recipe.adapter(id, place, *bottleneck, *deviation);
                }
            }
        }
        Method::Ia3(apet_record::Ia3 { outputs, inputs }) => {
            for (id, site) in ground.linear(outputs, "method.outputs")? {
                recipe.scale_output(id, site);
            }
            for (id, site) in ground.linear(inputs, "method.inputs")? {
                recipe.scale_input(id, site);
            }
        }
        Method::Apet(apet_record::Apet {
            count,
            pool,
            select,
        }) => apet::add((*count, pool, select), number, ground, recipe)?,
        Method::Foreign(apet_record::Foreign {
            program,
            experiment,
            ..
        }) => {
            return Err(SpecError {
                field: "method.name".into(),
                problem: format!(
                    "found {experiment:?} of {program}, which is shown beside other runs and can not be run here"
                ),
            });
        }
    }
    Ok(())
}

/// The matrix a site's delta acts as: a linear weight or a table as it is; a
/// LayerNorm scale as a diagonal on the normalized input; a bias as one column
/// on a constant input of 1.
fn index(site: &Site, positions: &[u64], device: &Device) -> SparseIndex {
    match site.shape[..] {
        [rows, cols] => SparseIndex::new(rows, cols, positions, device),
        _ if site.is_bias() => SparseIndex::new(site.len(), 1, positions, device),
        _ => {
            let width = site.len() as u64;
            let diagonal: Vec<u64> = positions.iter().map(|p| p * width + p).collect();
            SparseIndex::new(site.len(), site.len(), &diagonal, device)
        }
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
