//! From theta to peft's files.

use std::collections::{BTreeMap, HashMap};

use apet_plm::{Kind, ModelArchitecture, Plm};
use apet_record::{Objective, Pooling};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::{
    deltas::formats,
    error::FileError,
    merge::read,
    peft::{
        format::PeftFormat,
        module::WRAPPED,
        pieces::{Data, Pieces},
    },
    theta::Theta,
    weight::AttachPoint,
};

/// An adapter as peft saves it.
#[derive(Clone, Debug)]
pub struct PeftAdapter {
    /// `LORA`, `IA3`, ...
    pub peft_type: &'static str,
    /// The class of model it belongs to: `CAUSAL_LM`, ...
    pub task_type: &'static str,
    /// `adapter_config.json`.
    pub config: String,
    /// `adapter_model.safetensors`.
    pub weights: Vec<u8>,
    /// A head that no class of transformers has: a safetensors file with `weight` and `bias`.
    pub head: Option<Vec<u8>>,
    /// What a reader should know: how many values stand at places that are not tuned.
    pub note: String,
}

impl Theta {
    /// Writes theta with `values` as an adapter of peft for the model called `base`: a
    /// repository or a directory.
    ///
    /// # Errors
    /// Names the part of theta that peft cannot hold, and what to do instead; or the device fails.
    pub async fn to_peft(
        &self,
        plm: &Plm,
        base: &str,
        values: &[f32],
        (objective, pooling): (Objective, Pooling),
    ) -> Result<PeftAdapter, FileError> {
        let architecture = plm.architecture();
        let classifier = architecture.classifier(pooling);
        let task_type = match (objective, architecture.kind()) {
            (Objective::LabelWords, Kind::EncoderDecoder) => "SEQ_2_SEQ_LM",
            (Objective::LabelWords, _) => "CAUSAL_LM",
            (Objective::ClassHead, _) if classifier.is_some() => "SEQ_CLS",
            (Objective::ClassHead, _) => "FEATURE_EXTRACTION",
        };
        let prefix = match task_type {
            "FEATURE_EXTRACTION" => "",
            _ => architecture.prefix(),
        };
        let (format, mut pieces) = self.pieces(architecture, prefix.to_owned(), values)?;
        for id in (format.frozen)(&pieces) {
            let frozen = read(plm.value(id)).await?;
            pieces.frozen.insert(id, frozen);
        }
        let written = (format.write)(&pieces)?;
        // An adapter that changes no module wraps the model in another class.
        let of_modules = !written.targets.is_empty();
        let (mut tensors, mut saved) = (written.tensors, Value::Null);
        let mut beside = None;
        if let Some((classes, weight, bias)) = self.head(values) {
            let width = architecture.config.hidden();
            if let ("SEQ_CLS", Some(classifier)) = (task_type, classifier) {
                let layer = classifier.layer;
                let wrapped = if of_modules { WRAPPED } else { "base_model." };
                let name = |part: &str| format!("{wrapped}{layer}.{part}");
                tensors.push((name("weight"), vec![classes, width], Data::Floats(weight)));
                tensors.push((name("bias"), vec![classes], Data::Floats(bias)));
                saved = json!([layer, "score"]);
            } else {
                beside = self.head_file(values)?;
            }
        }
        let mut config = json!({
            "peft_type": format.peft_type,
            "task_type": task_type,
            "base_model_name_or_path": base,
            "inference_mode": true,
        });
        if let Value::Object(fields) = written.fields {
            for (name, value) in fields {
                config[name] = value;
            }
        }
        if of_modules {
            config["target_modules"] = json!(written.targets);
            config["modules_to_save"] = saved;
        }
        let config = serde_json::to_string_pretty(&config).map_err(|e| FileError(e.to_string()))?;
        Ok(PeftAdapter {
            peft_type: format.peft_type,
            task_type,
            config: config + "\n",
            weights: file(tensors)?,
            head: beside,
            note: written.note,
        })
    }
}

impl Theta {
    /// The pieces of all deltas but the head, and the one format that holds them.
    fn pieces<'a>(
        &self,
        architecture: &'a ModelArchitecture,
        prefix: String,
        values: &[f32],
    ) -> Result<(&'static PeftFormat, Pieces<'a>), FileError> {
        let mut pieces = Vec::new();
        let mut ids: Vec<&'static str> = Vec::new();
        let deltas = self.layout().deltas.iter().enumerate();
        for (number, attached) in deltas.filter(|(_, own)| own.at != AttachPoint::Head) {
            let name = &self.weights()[attached.weights.start].name;
            if name.contains('#') {
                return Err(FileError(format!(
                    "{name}: is the second change of one place, an adapter of peft has one; export it as merged or apet"
                )));
            }
            let target = attached.at.target(architecture);
            let piece = attached
                .delta
                .to_peft(target, &self.delta_values(number, values));
            let piece = piece.map_err(|why| FileError(format!("{name}: {why}")))?;
            if !ids.contains(&piece.format) {
                ids.push(piece.format);
            }
            pieces.push((attached.at, piece));
        }
        let pieces = Pieces {
            architecture,
            prefix,
            pieces,
            frozen: BTreeMap::new(),
        };
        let format = match ids[..] {
            [] => {
                return Err(FileError(
                    "theta tunes nothing but the head, which is no adapter; export it as apet"
                        .into(),
                ));
            }
            [id] => formats().find(|format| format.id == id),
            _ => None,
        };
        match format {
            Some(format) => Ok((format, pieces)),
            None => Err(FileError(format!(
                "theta has parts that are {}, an adapter of peft is one of them; export it as merged or apet",
                ids.join(" and ")
            ))),
        }
    }
}

fn file(tensors: Vec<(String, Vec<usize>, Data)>) -> Result<Vec<u8>, FileError> {
    let wrong = |e: safetensors::SafeTensorError| FileError(e.to_string());
    let bytes: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, data)| match data {
            Data::Floats(v) => {
                let bytes = v.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, shape, Dtype::F32, bytes)
            }
            Data::Ints(v) => {
                let bytes = v.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, shape, Dtype::I32, bytes)
            }
        })
        .collect();
    let mut views = Vec::new();
    for (name, shape, dtype, data) in &bytes {
        let view = TensorView::new(*dtype, shape.clone(), data).map_err(wrong)?;
        views.push((name, view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(wrong)
}
