//! Tuning of every scale and bias of LayerNorm or RMSNorm.

use apet_plm::{Site, SiteId};
use apet_record::{LayerNorm, Part, SpecError};
use serde_json::json;

use crate::{
    delta::DeltaKind,
    deltas::dense::{Dense, LN_TUNING},
    error::FileError,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::{
        format::PeftFormat,
        module::WRAPPED,
        pieces::{Pieces, Written},
        reader::{Found, Reader, tensor_error},
    },
    weight::{AttachPoint, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[];
pub(crate) const FORMATS: &[PeftFormat] = &[PeftFormat {
    id: LN_TUNING,
    peft_type: LN_TUNING,
    fields: &[],
    claims: |_| true,
    method: Some(|_| Ok(LayerNorm {}.into())),
    read,
    frozen: |pieces| {
        let norms = norms(pieces).into_iter();
        let half = norms.flat_map(|(_, sites)| sites);
        half.filter(|id| pieces.at(*id).next().is_none()).collect()
    },
    write,
}];

impl BuildDeltas for LayerNorm {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        let norms = context.sites().filter(|(_, site)| site.part == Part::Norm);
        norms.for_each(|(id, site)| layout.push(AttachPoint::Site(id), Target::Site(site), Dense));
        Ok(())
    }
}

fn read(reader: &mut Reader<'_>, found: &mut Found) -> Result<(), FileError> {
    let infix = ".ln_tuning_layers.";
    let architecture = reader.architecture;
    let names = reader.tensors.keys().filter(|n| n.contains(infix));
    let mut norms: Vec<(SiteId, String)> = Vec::new();
    for name in names {
        let path = name.replace(infix, ".");
        let is_it = |site: &Site| {
            site.part == Part::Norm && architecture.bare(&site.tensor) == architecture.bare(&path)
        };
        let model = &architecture.name;
        let id = architecture.sites.iter().position(is_it);
        let id = id.ok_or_else(|| tensor_error(name, format!("{model} has no such norm")))?;
        norms.push((id, name.clone()));
    }
    // In the model's order, as the method LayerNorm has them.
    norms.sort_unstable();
    for (id, name) in norms {
        let site = &architecture.sites[id];
        found
            .layout
            .push(AttachPoint::Site(id), Target::Site(site), Dense);
        let values = reader.floats(&name, &site.shape)?;
        found.values.extend(values);
    }
    Ok(())
}

/// The norms of which a scale or a bias is tuned, by path, each with all its tensors.
fn norms(pieces: &Pieces<'_>) -> Vec<(String, Vec<SiteId>)> {
    let architecture = pieces.architecture;
    let path_of = |site: &Site| {
        let tensor = site.tensor.trim_end_matches(".weight");
        let bare = architecture.bare(tensor.trim_end_matches(".bias"));
        format!("{}{bare}", pieces.prefix)
    };
    let norms = architecture.sites.iter().enumerate();
    let norms: Vec<(SiteId, &Site)> = norms.filter(|(_, site)| site.part == Part::Norm).collect();
    // The scale of a norm and its bias stand side by side.
    let norms = norms.chunk_by(|(_, a), (_, b)| path_of(a) == path_of(b));
    let norms = norms.map(|sites| {
        let ids: Vec<SiteId> = sites.iter().map(|(id, _)| *id).collect();
        (path_of(sites[0].1), ids)
    });
    norms
        .filter(|(_, sites)| sites.iter().any(|id| pieces.at(*id).next().is_some()))
        .collect()
}

fn write(pieces: &Pieces<'_>) -> Result<Written, FileError> {
    let (mut targets, mut tensors) = (Vec::new(), Vec::new());
    // A norm is tuned as a whole there: what is not in theta keeps its frozen values.
    for (path, sites) in norms(pieces) {
        for id in sites {
            let site = pieces.site(id);
            let values = match pieces.at(id).next() {
                Some(piece) => piece.tensors[0].1.clone(),
                None => pieces.frozen.get(&id).cloned().unwrap_or_default(),
            };
            let part = if site.is_bias() { "bias" } else { "weight" };
            let name = format!("{WRAPPED}{path}.ln_tuning_layers.{part}");
            tensors.push((name, site.shape.clone(), values.into()));
        }
        targets.push(path);
    }
    Ok(Written {
        targets,
        fields: json!({}),
        tensors,
        note: String::new(),
    })
}
