//! theta as a separate file: safetensors with the flat vector, every position, and in the
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
    delta::{Attached, Entry, Positions},
    deltas::kinds,
    error::FileError,
    layout_builder::LayoutBuilder,
    theta::{Layout, Theta},
    weight::AttachPoint,
};

/// The version of the file's form.
const VERSION: u32 = 1;
/// Where the header has it.
const KEY: &str = "apet_theta";

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
    /// The line of a delta.
    fn new(attached: &Attached, architecture: &ModelArchitecture) -> Self {
        let target = attached.at.target(architecture);
        let entry = attached.delta.entry(target);
        Self {
            at: target.name().into(),
            structure: attached.delta.kind().name.into(),
            size: entry.size,
            in_a: entry.in_a,
            rank: entry.rank,
            scale: entry.scale,
        }
    }

    /// Adds its delta to a layout for a model; takes the delta's positions from the front of
    /// `positions`.
    fn add(
        &self,
        architecture: &ModelArchitecture,
        positions: &mut Positions<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), FileError> {
        let wrong = |problem: String| FileError(format!("{}: {problem}", self.at));
        let point = architecture.insertion_points.iter();
        let point = point.clone().position(|point| point.name == self.at);
        let site = || architecture.sites.iter().position(|s| s.name == self.at);
        let at = match point {
            _ if self.structure == "head" => AttachPoint::Head,
            Some(point) => AttachPoint::InsertionPoint(point),
            None => AttachPoint::Site(site().ok_or_else(|| {
                wrong(format!("{} has no such tensor or place", architecture.name))
            })?),
        };
        let entry = Entry {
            size: self.size,
            in_a: self.in_a,
            rank: self.rank,
            scale: self.scale,
        };
        let target = at.target(architecture);
        let kind = kinds().find(|kind| kind.name == self.structure);
        let delta = match kind {
            Some(kind) => (kind.read)(&entry, target, positions).map_err(&wrong)?,
            None => None,
        };
        let no_such = || wrong(format!("a \"{}\" cannot be attached there", self.structure));
        layout.add(at, target, delta.ok_or_else(no_such)?);
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
        let deltas = self.layout().deltas.iter();
        let contents = Contents {
            version: VERSION,
            init: self.init(),
            info: self.info().clone(),
            weights: deltas.map(|own| Record::new(own, architecture)).collect(),
        };
        let contents = serde_json::to_string(&contents).map_err(|e| FileError(e.to_string()))?;
        metadata.insert(KEY.into(), contents);
        let deltas = self.layout().deltas.iter();
        let places = deltas.flat_map(|own| own.delta.positions()).flatten();
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
            let lines = theta.layout().deltas.iter().map(|own| {
                let positions = own.delta.positions().concat();
                (Record::new(own, architecture), positions)
            });
            lines.collect()
        };
        let (own, mut others) = (lines(self), lines(other));
        if self.info().head == 0 {
            others.retain(|(record, _)| record.structure != "head");
        }
        let differs = (0..own.len().max(others.len())).find(|&at| own.get(at) != others.get(at));
        let Some(at) = differs else {
            if self.init() != other.init() && self.has_drawn_constants() {
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
        let mut layout = LayoutBuilder::default();
        let mut rest = Positions {
            rest: &positions,
            device: plm.device(),
        };
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
            record.add(plm.architecture(), &mut rest, &mut layout)?;
        }
        let mut layout = Layout::from_builder(&contents.info.method, layout, plm.architecture());
        layout.info = contents.info;
        let len = layout.len();
        if values.len() != len || !rest.rest.is_empty() {
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
