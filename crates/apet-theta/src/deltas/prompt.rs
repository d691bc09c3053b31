//! Virtual tokens before the embedded input (Lester et al., 2021).

use std::sync::Arc;

use apet_plm::INPUT;
use apet_record::{Prompt, SpecError};
use serde_json::json;

use crate::{
    delta::{
        Cells, ConstantSource, Delta, DeltaConstant, DeltaKind, DeltaTensors, DeltaValues, Entry,
        Merge, TensorSpec,
    },
    error::FileError,
    hooks::PointHooks,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::{
        config::Config,
        format::PeftFormat,
        piece::Piece,
        pieces::{Pieces, Written},
        reader::{Found, Reader},
    },
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[PeftFormat {
    id: PROMPT_TUNING,
    peft_type: PROMPT_TUNING,
    fields: &[],
    claims: |_| true,
    method: Some(|config| {
        let tokens = config.whole("num_virtual_tokens")? as usize;
        // The deviation of initial values: the adapter's values stand in their place.
        let deviation = 0.0;
        Ok(Prompt { tokens, deviation }.into())
    }),
    read,
    frozen: |_| Vec::new(),
    write,
}];
const PROMPT_TUNING: &str = "PROMPT_TUNING";

static KIND: DeltaKind = DeltaKind {
    name: "prompt",
    operation: Some(Operation::Concat),
    exclusive: false,
    merge: Merge::Never {
        what: "virtual tokens",
        export: "peft or apet",
    },
    read: |entry, target, _| {
        let delta = VirtualTokens {
            tokens: entry.size,
            deviation: 0.0,
        };
        let fits = matches!(target, Target::InsertionPoint(_));
        Ok(fits.then(|| Arc::new(delta) as Arc<dyn Delta>))
    },
};

/// Virtual tokens, `[tokens, hidden]`.
#[derive(Clone, Debug)]
struct VirtualTokens {
    tokens: usize,
    /// Standard deviation of the initial values.
    deviation: f64,
}

impl BuildDeltas for Prompt {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        let at = AttachPoint::InsertionPoint(INPUT);
        let delta = VirtualTokens {
            tokens: self.tokens,
            deviation: self.deviation,
        };
        layout.push(at, at.target(context.architecture), delta);
        Ok(())
    }
}

impl Delta for VirtualTokens {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: target.name().into(),
            part: "prompt",
            shape: vec![self.tokens, target.matrix()[0]],
            initial: Initial::Normal {
                deviation: self.deviation,
            },
        }]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        (self.tokens * target.matrix()[0]) as u64
    }

    fn positions(&self) -> [&[u64]; 2] {
        [&[], &[]]
    }

    fn constants(
        &self,
        _target: Target<'_>,
        _source: &mut ConstantSource<'_>,
    ) -> Vec<DeltaConstant> {
        Vec::new()
    }

    fn hook<'a>(&'a self, tensors: &DeltaTensors<'a>, hooks: &mut PointHooks<'a>) {
        hooks.prompts.push(tensors.matrix(0));
    }

    /// No tensor of the model can hold it, see [`DeltaKind::merge`].
    fn merge(&self, _values: &DeltaValues<'_>, _tensor: &mut [f32], _width: usize) {}

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.tokens,
            ..Entry::default()
        }
    }

    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        let shape = vec![self.tokens, target.matrix()[0]];
        Ok(Piece {
            format: PROMPT_TUNING,
            part: "",
            tensors: vec![(shape, values.of(0).to_vec())],
            positions: Vec::new(),
            scale: 1.0,
        })
    }

    fn activations(&self, _target: Target<'_>) -> usize {
        0
    }

    fn needs_input(&self) -> bool {
        false
    }

    fn index_bytes(&self, _target: Target<'_>) -> u64 {
        0
    }

    fn cells(&self) -> Cells<'_> {
        Cells::None
    }
}

fn read(reader: &mut Reader<'_>, found: &mut Found) -> Result<(), FileError> {
    let modules = reader.config.number("num_transformer_submodules");
    let modules = modules.unwrap_or(1.0);
    if ![1.0, 2.0].contains(&modules) {
        return Err(Config::error(format!(
            "num_transformer_submodules: found {modules}, expected 1 or 2"
        )));
    }
    let at = AttachPoint::InsertionPoint(INPUT);
    let target = at.target(reader.architecture);
    let width = target.matrix()[0];
    let stored = reader.first_dimension("prompt_embeddings");
    let mut values = reader.floats("prompt_embeddings", &[stored, width])?;
    // Of an encoder-decoder's two halves peft puts the first one before the encoder's
    // input, and uses the second one nowhere (PeftModelForSeq2SeqLM.forward).
    let tokens = stored / modules as usize;
    values.truncate(tokens * width);
    let deviation = 0.0;
    found
        .layout
        .push(at, target, VirtualTokens { tokens, deviation });
    found.values.extend(values);
    Ok(())
}

fn write(pieces: &Pieces<'_>) -> Result<Written, FileError> {
    let [(_, prompt)] = &pieces.pieces[..] else {
        return Err(FileError("found two prompts, PROMPT_TUNING has one".into()));
    };
    let (shape, values) = prompt.tensors[0].clone();
    Ok(Written {
        targets: Vec::new(),
        fields: json!({
            "num_virtual_tokens": shape[0],
            "token_dim": shape[1],
            "num_transformer_submodules": 1,
            "num_layers": pieces.architecture.config.layers(),
            "prompt_tuning_init": "RANDOM",
        }),
        tensors: vec![("prompt_embeddings".into(), shape, values.into())],
        note: String::new(),
    })
}
