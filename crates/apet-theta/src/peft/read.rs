//! From peft's files to theta.

use apet_plm::Plm;
use apet_record::{Method, Objective, Pooling};
use burn::{
    Tensor,
    tensor::{DType, TensorData},
};

use crate::{
    deltas::{formats, head::ClassHead},
    error::FileError,
    peft::{
        config::Config,
        format::PeftFormat,
        reader::{Found, Reader},
    },
    theta::{Layout, Theta},
    weight::AttachPoint,
};

impl Theta {
    /// Reads an adapter of peft onto its base model: the texts of `adapter_config.json` and
    /// the bytes of `adapter_model.safetensors`.
    ///
    /// # Errors
    /// Names the field or tensor, and why theta cannot hold it.
    pub fn from_peft(plm: &Plm, config: &str, weights: &[u8]) -> Result<Self, FileError> {
        let architecture = plm.architecture();
        let config = Config::parse(config)?;
        let format = format_of(&config)?;
        let mut reader = Reader::new(architecture, plm.device(), config, weights)?;
        let mut found = Found::default();
        (format.read)(&mut reader, &mut found)?;
        head(&mut reader, &mut found)?;
        reader.finish()?;
        let name = format!("peft {}", format.peft_type);
        let mut layout = Layout::from_builder(&name, found.layout, architecture);
        if layout.is_empty() {
            return Err(Config::error("the adapter has no tensor".into()));
        }
        layout.info.requested_parameters = layout.info.trainable_parameters;
        let mut theta = Self::of(plm, 0, layout);
        let data = TensorData::new(found.values, [theta.layout().len()]);
        theta.set_values(Tensor::from_data(data, (plm.device(), DType::F32)));
        Ok(theta)
    }

    /// What an adapter's head is for, by the `task_type` of its `adapter_config.json`: transformers'
    /// classifiers take the pooler's output, generators answer with text.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn peft_purpose(config: &str) -> Result<(Objective, Pooling), FileError> {
        Ok(match Config::parse(config)?.word("task_type") {
            "SEQ_CLS" => (Objective::ClassHead, Pooling::Pooler),
            "CAUSAL_LM" | "SEQ_2_SEQ_LM" => (Objective::LabelWords, Pooling::Mean),
            _ => (Objective::ClassHead, Pooling::Mean),
        })
    }

    /// The method that adds the same weights to a model as the adapter of an `adapter_config.json` has.
    ///
    /// # Errors
    /// Names the field that no method of ours has; positions that were drawn elsewhere belong to none.
    pub fn peft_method(config: &str) -> Result<Method, FileError> {
        let config = Config::parse(config)?;
        let is_it = |format: &&PeftFormat| {
            format.peft_type == config.word("peft_type") && (format.claims)(&config)
        };
        // The form with the most to claim stands last.
        let method = formats().filter(is_it).filter_map(|format| format.method);
        match method.last() {
            Some(method) => method(&config),
            None => Err(Config::error(format!(
                "peft_type: found \"{}\", expected {} to initialise a run",
                config.word("peft_type"),
                types(|format| format.method.is_some())
            ))),
        }
    }
}

/// The format of an adapter: the first one of its type that understands every field that is set.
fn format_of(config: &Config) -> Result<&'static PeftFormat, FileError> {
    let mut error = None;
    let of_type = |format: &&PeftFormat| format.peft_type == config.word("peft_type");
    for format in formats().filter(of_type) {
        match config.check_fields(format.fields) {
            Ok(()) if (format.claims)(config) => return Ok(format),
            Ok(()) => {}
            Err(e) => error = error.or(Some(e)),
        }
    }
    if let Some(error) = error {
        return Err(error);
    }
    config.check_fields(&[])?;
    Err(Config::error(format!(
        "peft_type: found \"{}\", expected {}",
        config.word("peft_type"),
        types(|_| true)
    )))
}

/// The types of the formats that are kept: `"A, B or C"`.
fn types(keep: fn(&PeftFormat) -> bool) -> String {
    let mut types: Vec<&str> = Vec::new();
    for format in formats().filter(|format| keep(format)) {
        if !types.contains(&format.peft_type) {
            types.push(format.peft_type);
        }
    }
    match &types[..] {
        [] => String::new(),
        [one] => (*one).into(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// A classifier that was saved next to the adapter.
fn head(reader: &mut Reader<'_>, found: &mut Found) -> Result<(), FileError> {
    let named = |name: &str| ["classifier.weight", "base_model.classifier.weight"].contains(&name);
    let Some(name) = reader.tensors.keys().find(|name| named(name)).cloned() else {
        return Ok(());
    };
    let classes = reader.first_dimension(&name);
    let at = AttachPoint::Head;
    let target = at.target(reader.architecture);
    let weight = reader.floats(&name, &[classes, target.matrix()[0]])?;
    let bias = reader.floats(&name.replace(".weight", ".bias"), &[classes])?;
    found.layout.push(at, target, ClassHead::new(classes));
    found.values.extend(weight.into_iter().chain(bias));
    Ok(())
}
