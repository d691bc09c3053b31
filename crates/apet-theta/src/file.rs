//! theta as a file of its own: safetensors with the flat vector, every position, and in the
//! header what stands where. It is read back onto the same model without a spec.
//!
//! | tensor | type | what |
//! |---|---|---|
//! | `values` | F32 `[parameters]` | theta, the head last |
//! | `positions` | U32 `[scalars]` | row-major positions of the sparse weights, in their order |
//!
//! The header's `apet_theta` is JSON: [`Contents`].

use std::collections::HashMap;

use apet_plm::{ModelArchitecture, Plm};
use apet_record::ThetaInfo;
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{
    method::Recipe,
    theta::{Layout, Theta},
    weight::{AdapterPart, AttachPoint, Structure, Weight},
};

/// The version of the file's form.
const VERSION: u32 = 1;
/// Where the header has it.
const KEY: &str = "apet_theta";

/// A theta file that does not fit, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(pub(crate) String);

/// What the header says.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// Seed of the initial values: of factors that are not tuned themselves.
    init: u64,
    info: ThetaInfo,
    weights: Vec<Record>,
}

/// What is put where: one line of a recipe.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    /// The site's or place's name.
    at: String,
    /// The structure's name; an adapter, a low-rank pair and the head are one.
    #[serde(rename = "as")]
    structure: String,
    /// Scalars, rank, tokens, bottleneck or classes.
    #[serde(default, skip_serializing_if = "is_zero")]
    size: usize,
    /// Scalars of A, where scalars of factors are tuned.
    #[serde(default, skip_serializing_if = "is_zero")]
    in_a: usize,
    /// Rank, where scalars of factors are tuned.
    #[serde(default, skip_serializing_if = "is_zero")]
    rank: usize,
    /// alpha / rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<f64>,
}

fn is_zero(size: &usize) -> bool {
    *size == 0
}

impl Record {
    /// The line that a weight begins; none where it belongs to the one before.
    fn of(weight: &Weight, architecture: &ModelArchitecture) -> Option<Self> {
        let at = match weight.at {
            AttachPoint::Site(site) => &architecture.sites[site].name,
            AttachPoint::InsertionPoint(place) => &architecture.insertion_points[place].name,
            AttachPoint::Head => "head",
        };
        let mut record = Self {
            at: at.into(),
            structure: weight.structure.name().into(),
            size: 0,
            in_a: 0,
            rank: 0,
            scale: None,
        };
        match &weight.structure {
            Structure::Sparse { positions, .. } => record.size = positions.len(),
            Structure::LowRankB { scale } => {
                record.structure = "low_rank".into();
                record.size = weight.shape[1];
                record.scale = Some(*scale);
            }
            Structure::LowRankScalars {
                rank, scale, a, b, ..
            } => {
                (record.size, record.in_a, record.rank) = (a.len() + b.len(), a.len(), *rank);
                record.scale = Some(*scale);
            }
            Structure::Prompt => record.size = weight.shape[0],
            Structure::Adapter(AdapterPart::DownBias) => {
                record.structure = "adapter".into();
                record.size = weight.len();
            }
            Structure::HeadBias => {
                record.structure = "head".into();
                record.size = weight.len();
            }
            Structure::LowRankA | Structure::Adapter(_) | Structure::HeadWeight => return None,
            Structure::Owned | Structure::Bias | Structure::ScaleOutput | Structure::ScaleInput => {
            }
        }
        Some(record)
    }

    /// Puts it into a recipe for a model; takes its positions from the front of `positions`.
    fn put(&self, plm: &Plm, positions: &mut &[u64], recipe: &mut Recipe) -> Result<(), FileError> {
        let (architecture, device) = (plm.architecture(), plm.device());
        let wrong = |problem: String| FileError(format!("{}: {problem}", self.at));
        let mut take = |count: usize, scalars: usize| {
            let Some((here, rest)) = positions.split_at_checked(count) else {
                return Err(wrong("has fewer positions than values".into()));
            };
            *positions = rest;
            let ascend = here.windows(2).all(|w| w[0] < w[1]);
            if !ascend || here.last().is_some_and(|&last| last >= scalars as u64) {
                return Err(wrong(format!(
                    "has positions that are not ascending below {scalars}"
                )));
            }
            Ok(here.to_vec())
        };
        if self.structure == "head" {
            recipe.head(self.size, architecture.config.hidden());
            return Ok(());
        }
        let no_such = |other: &str| wrong(format!("a \"{other}\" can not be put there"));
        if let Some(id) = architecture
            .insertion_points
            .iter()
            .position(|p| p.name == self.at)
        {
            let place = &architecture.insertion_points[id];
            match self.structure.as_str() {
                "prompt" => recipe.prompt(id, place, self.size, 0.0),
                "adapter" => recipe.adapter(id, place, self.size, 0.0),
                other => return Err(no_such(other)),
            }
            return Ok(());
        }
        let Some(id) = architecture.sites.iter().position(|s| s.name == self.at) else {
            let name = &architecture.name;
            return Err(wrong(format!("{name} has no such tensor or place")));
        };
        let site = &architecture.sites[id];
        let is_linear = site.linear_layer().is_some();
        match self.structure.as_str() {
            "dense" => recipe.own(id, site),
            "sparse" => recipe.sparse(id, site, take(self.size, site.len())?, device),
            "low_rank" if is_linear => {
                recipe.low_rank(id, site, self.size, self.scale.unwrap_or(1.0));
            }
            "low_rank_scalars"
                if is_linear
                    && self.in_a <= self.size
                    && self.rank <= site.shape[0].max(site.shape[1]) =>
            {
                let a = take(self.in_a, self.rank * site.shape[1])?;
                let b = take(self.size - self.in_a, self.rank * site.shape[0])?;
                let factors = (self.rank, self.scale.unwrap_or(1.0));
                recipe.low_rank_scalars(id, site, factors, (a, b), device);
            }
            "bias" if is_linear => recipe.bias(id, site),
            "scale_output" if is_linear => recipe.scale_output(id, site),
            "scale_input" if is_linear => recipe.scale_input(id, site),
            other => return Err(no_such(other)),
        }
        Ok(())
    }
}

impl Theta {
    /// Writes `values` (as read from [`Theta::values`]) as a file. `metadata` stands in the
    /// header beside what theta consists of.
    ///
    /// # Errors
    /// When `values` are not as many as theta has.
    pub fn to_safetensors(
        &self,
        architecture: &ModelArchitecture,
        values: &[f32],
        mut metadata: HashMap<String, String>,
    ) -> Result<Vec<u8>, FileError> {
        let wrong = |e: safetensors::SafeTensorError| FileError(e.to_string());
        if values.len() != self.layout().len() {
            let (found, expected) = (values.len(), self.layout().len());
            return Err(FileError(format!(
                "found {found} values, theta has {expected}"
            )));
        }
        let weights = self.weights().iter();
        let contents = Contents {
            version: VERSION,
            init: self.init(),
            info: self.info().clone(),
            weights: weights
                .filter_map(|w| Record::of(w, architecture))
                .collect(),
        };
        let contents = serde_json::to_string(&contents).map_err(|e| FileError(e.to_string()))?;
        metadata.insert(KEY.into(), contents);
        let places = self
            .weights()
            .iter()
            .flat_map(|w| w.structure.places())
            .flatten();
        let places: Vec<u8> = places
            .flat_map(|&place| (place as u32).to_le_bytes())
            .collect();
        let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut tensors = Vec::new();
        for (name, dtype, bytes) in [
            ("values", Dtype::F32, &values),
            ("positions", Dtype::U32, &places),
        ] {
            if name == "values" || !bytes.is_empty() {
                let view = TensorView::new(dtype, vec![bytes.len() / 4], bytes);
                tensors.push((name, view.map_err(wrong)?));
            }
        }
        safetensors::serialize(tensors, Some(metadata)).map_err(wrong)
    }

    /// The spec of the run that a theta file was made by, as JSON; none where it was made otherwise.
    ///
    /// # Errors
    /// When it is no safetensors file.
    pub fn spec_of(bytes: &[u8]) -> Result<Option<String>, FileError> {
        let header = SafeTensors::read_metadata(bytes);
        let (_, header) = header.map_err(|e| {
            FileError(format!(
                "{e}, expected a theta file of APET Lab (safetensors)"
            ))
        })?;
        let metadata = header.metadata().as_ref();
        Ok(metadata.and_then(|m| m.get("apet_spec").cloned()))
    }

    /// Refuses a theta that does not consist of the same weights at the same positions as `other`; it may lack the head.
    ///
    /// # Errors
    /// Names the first weight that differs.
    pub fn check_same(
        &self,
        other: &Self,
        architecture: &ModelArchitecture,
    ) -> Result<(), FileError> {
        let lines = |theta: &Self| -> Vec<(Record, Vec<u64>)> {
            let lines = theta.weights().iter().filter_map(|weight| {
                let places = weight.structure.places().concat();
                Some((Record::of(weight, architecture)?, places))
            });
            lines.collect()
        };
        let (own, mut others) = (lines(self), lines(other));
        if self.info().head == 0 {
            others.retain(|(record, _)| record.structure != "head");
        }
        let differs = (0..own.len().max(others.len())).find(|&at| own.get(at) != others.get(at));
        let Some(at) = differs else {
            let scalars = |w: &Weight| matches!(w.structure, Structure::LowRankScalars { .. });
            if self.init() != other.init() && self.weights().iter().any(scalars) {
                return Err(FileError(format!(
                    "found frozen factors of the seed {}, expected those of {}",
                    self.init(),
                    other.init()
                )));
            }
            return Ok(());
        };
        let said = |line: Option<&(Record, Vec<u64>)>| match line {
            None => "nothing".to_owned(),
            Some((
                Record {
                    at,
                    structure,
                    size,
                    ..
                },
                _,
            )) if *size > 0 => {
                format!("{structure} of {size} at {at}")
            }
            Some((Record { at, structure, .. }, _)) => format!("{structure} at {at}"),
        };
        let elsewhere = match (own.get(at), others.get(at)) {
            (Some(own), Some(other)) if own.0 == other.0 => " at other positions",
            _ => "",
        };
        Err(FileError(format!(
            "found {}{elsewhere}, expected {}",
            said(own.get(at)),
            said(others.get(at))
        )))
    }

    /// Reads a theta file onto the model it was made for.
    ///
    /// # Errors
    /// Names what the model does not have, or what of the file does not fit.
    pub fn read(plm: &Plm, bytes: &[u8]) -> Result<Self, FileError> {
        let no_theta = |found: String| {
            FileError(format!(
                "{found}, expected a theta file of APET Lab (safetensors)"
            ))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| no_theta(e.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| no_theta(e.to_string()))?;
        let contents = header.metadata().as_ref().and_then(|m| m.get(KEY));
        let contents =
            contents.ok_or_else(|| no_theta(format!("found no \"{KEY}\" in the header")))?;
        let contents: Contents =
            serde_json::from_str(contents).map_err(|e| no_theta(format!("{KEY}: {e}")))?;
        if contents.version != VERSION {
            return Err(FileError(format!(
                "found version {} of the theta file, expected {VERSION}; a newer APET Lab may read it",
                contents.version
            )));
        }
        let words = |name: &str, dtype: Dtype| -> Result<Vec<[u8; 4]>, FileError> {
            let view = file.tensor(name).map_err(|e| no_theta(e.to_string()))?;
            if view.dtype() != dtype {
                return Err(no_theta(format!("{name} is {:?}", view.dtype())));
            }
            let words = view.data().chunks_exact(4);
            Ok(words.map(|b| [b[0], b[1], b[2], b[3]]).collect())
        };
        let positions = match file.tensor("positions") {
            Ok(_) => words("positions", Dtype::U32)?,
            Err(_) => Vec::new(),
        };
        let positions: Vec<u64> = positions
            .into_iter()
            .map(|b| u32::from_le_bytes(b).into())
            .collect();
        let mut recipe = Recipe::default();
        let mut rest = positions.as_slice();
        let values: Vec<f32> = words("values", Dtype::F32)?
            .into_iter()
            .map(f32::from_le_bytes)
            .collect();
        for record in &contents.weights {
            // No part is larger than the whole: a damaged file asks for no memory.
            if record.size > values.len() {
                let (found, at) = (record.size, &record.at);
                return Err(FileError(format!(
                    "{at}: found a size of {found}, the file has {} values",
                    values.len()
                )));
            }
            record.put(plm, &mut rest, &mut recipe)?;
        }
        let mut layout = Layout::from_recipe(&contents.info.method, recipe, plm.architecture());
        layout.info = contents.info;
        let len = layout.len();
        if values.len() != len || !rest.is_empty() {
            return Err(FileError(format!(
                "found {} values, its weights have {len} on {}",
                values.len(),
                plm.info().name
            )));
        }
        let mut theta = Self::of(plm, contents.init, layout);
        let data = TensorData::new(values, [len]);
        theta.set_values(Tensor::from_data(data, (plm.device(), DType::F32)));
        Ok(theta)
    }
}
