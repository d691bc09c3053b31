//! IA3: learned scales of linear layers' outputs and inputs (Liu et al., 2022).

use std::sync::Arc;

use apet_record::{Ia3, Method, SpecError};
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
        module::{Module, WRAPPED, rows_of},
        piece::Piece,
        pieces::{Pieces, Written},
        reader::{Found, Reader},
    },
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&INPUT_KIND, &OUTPUT_KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[PeftFormat {
    id: IA3,
    peft_type: IA3,
    fields: &[],
    claims: |_| true,
    method: Some(method),
    read,
    frozen: |_| Vec::new(),
    write,
}];
const IA3: &str = "IA3";

static OUTPUT_KIND: DeltaKind = DeltaKind {
    name: "scale_output",
    operation: Some(Operation::Add),
    exclusive: false,
    merge: Merge::ScaleWithBias,
    read: |_, target, _| {
        let layer = target.linear();
        Ok(layer.map(|_| Arc::new(ScaleOutput) as Arc<dyn Delta>))
    },
};

static INPUT_KIND: DeltaKind = DeltaKind {
    name: "scale_input",
    operation: Some(Operation::Add),
    exclusive: false,
    merge: Merge::Scale,
    read: |_, target, _| {
        let layer = target.linear();
        Ok(layer.map(|_| Arc::new(ScaleInput) as Arc<dyn Delta>))
    },
};

impl BuildDeltas for Ia3 {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        for (id, site) in context.linear(&self.outputs, "method.outputs")? {
            layout.push(AttachPoint::Site(id), Target::Site(site), ScaleOutput);
        }
        for (id, site) in context.linear(&self.inputs, "method.inputs")? {
            layout.push(AttachPoint::Site(id), Target::Site(site), ScaleInput);
        }
        Ok(())
    }
}

/// Multiplies a linear layer's output, `[out]`.
#[derive(Clone, Debug)]
struct ScaleOutput;

impl Delta for ScaleOutput {
    fn kind(&self) -> &'static DeltaKind {
        &OUTPUT_KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: target.beside("scale_output"),
            part: "scale_output",
            shape: vec![target.matrix()[0]],
            initial: Initial::One,
        }]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        target.matrix()[0] as u64
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
        let scale = &tensors.leaves[0];
        hooks
            .outputs
            .push(Box::new(|x| x * scale.clone().unsqueeze()));
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], width: usize) {
        for (row, scale) in tensor.chunks_exact_mut(width).zip(values.of(0)) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry::default()
    }

    fn to_peft(&self, _target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        let scales = values.of(0).to_vec();
        Ok(Piece {
            format: IA3,
            part: "output",
            tensors: vec![(vec![scales.len()], scales)],
            positions: Vec::new(),
            scale: 1.0,
        })
    }

    /// What is scaled.
    fn activations(&self, target: Target<'_>) -> usize {
        target.matrix()[0]
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

/// Multiplies a linear layer's input, `[in]`.
#[derive(Clone, Debug)]
struct ScaleInput;

impl Delta for ScaleInput {
    fn kind(&self) -> &'static DeltaKind {
        &INPUT_KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: target.beside("scale_input"),
            part: "scale_input",
            shape: vec![target.matrix()[1]],
            initial: Initial::One,
        }]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        target.matrix()[1] as u64
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
        let scale = &tensors.leaves[0];
        hooks
            .inputs
            .push(Box::new(|x| x * scale.clone().unsqueeze()));
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], width: usize) {
        for row in tensor.chunks_exact_mut(width) {
            row.iter_mut()
                .zip(values.of(0))
                .for_each(|(value, scale)| *value *= scale);
        }
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry::default()
    }

    fn to_peft(&self, _target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        let scales = values.of(0).to_vec();
        Ok(Piece {
            format: IA3,
            part: "input",
            tensors: vec![(vec![scales.len()], scales)],
            positions: Vec::new(),
            scale: 1.0,
        })
    }

    /// What is scaled.
    fn activations(&self, target: Target<'_>) -> usize {
        target.matrix()[1]
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

fn method(config: &Config) -> Result<Method, FileError> {
    let inputs = config.names("feedforward_modules")?;
    let mut outputs = config.names("target_modules")?;
    outputs.retain(|name| !inputs.contains(name));
    Ok(Ia3 { outputs, inputs }.into())
}

fn read(reader: &mut Reader<'_>, found: &mut Found) -> Result<(), FileError> {
    // peft tells feed-forward layers by the shape: [1, in] scales what goes in.
    let mut scaled: Vec<(bool, Module, String)> = Vec::new();
    for (module, path) in reader.with("ia3_l")? {
        let name = format!("{path}.ia3_l");
        let inputs = reader.shape(&module)[1];
        let shape = reader.tensors.get(&name).map(|t| &t.shape[..]);
        scaled.push((shape == Some(&[1, inputs]), module, name));
    }
    // Outputs stand before inputs in theta, as the method IA3 has them.
    scaled.sort_by_key(|(is_input, ..)| *is_input);
    for (is_input, module, name) in scaled {
        let [outputs, inputs] = reader.shape(&module);
        reader.check_linear(&module, &name)?;
        let shape = if is_input { [1, inputs] } else { [outputs, 1] };
        let values = reader.floats(&name, &shape)?;
        for &id in &module.weights {
            let site = &reader.architecture.sites[id];
            let (at, target) = (AttachPoint::Site(id), Target::Site(site));
            if is_input {
                found.layout.push(at, target, ScaleInput);
                found.values.extend(&values);
            } else {
                let own: Vec<f32> = rows_of(site).into_iter().map(|row| values[row]).collect();
                // A part of a fused layer whose scales are all 1 is not scaled.
                if module.weights.len() > 1 && own.iter().all(|&v| v == 1.0) {
                    continue;
                }
                found.layout.push(at, target, ScaleOutput);
                found.values.extend(own);
            }
        }
    }
    Ok(())
}

fn write(pieces: &Pieces<'_>) -> Result<Written, FileError> {
    let (mut targets, mut inner, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
    for (module, parts) in pieces.modules() {
        let path = pieces.path(&module);
        let name = format!("{WRAPPED}{path}.ia3_l");
        let own: Vec<&Piece> = parts.iter().flat_map(|(_, own)| own.clone()).collect();
        if own.iter().any(|piece| piece.part == "input") {
            let [only] = own[..] else {
                return Err(FileError(format!(
                    "{path}: is scaled in more than one way, IA3 scales a layer's output or its input; export it as merged or apet"
                )));
            };
            if module.weights.len() > 1 {
                return Err(FileError(format!(
                    "{path}: one part of a fused layer has a scaled input, IA3 scales all of them; export it as merged or apet"
                )));
            }
            let values = only.tensors[0].1.clone();
            tensors.push((name, vec![1, values.len()], values.into()));
            inner.push(path.clone());
        } else {
            // Parts of a fused layer that are not scaled keep 1.
            let mut whole = vec![1.0; pieces.rows(&module)];
            for (id, own) in &parts {
                for piece in own {
                    let rows = rows_of(pieces.site(*id)).into_iter();
                    for (row, value) in rows.zip(&piece.tensors[0].1) {
                        whole[row] = *value;
                    }
                }
            }
            tensors.push((name, vec![whole.len(), 1], whole.into()));
        }
        targets.push(path);
    }
    Ok(Written {
        targets,
        fields: json!({
            "feedforward_modules": inner,
            "fan_in_fan_out": false,
            "init_ia3_weights": true,
        }),
        tensors,
        note: String::new(),
    })
}
