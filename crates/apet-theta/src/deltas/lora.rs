//! LoRA: a low-rank delta scale B A on a linear layer (Hu et al., 2022).

use std::sync::Arc;

use apet_kernels::linear;
use apet_record::{Lora, Method, SpecError};
use serde_json::{Value, json};

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
        module::{WRAPPED, rows_of},
        piece::Piece,
        pieces::{Pieces, Written},
        reader::{Found, Reader},
    },
    weight::{AttachPoint, Initial, Operation, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[&KIND];
pub(crate) const FORMATS: &[PeftFormat] = &[PeftFormat {
    id: LORA,
    peft_type: LORA,
    fields: &[],
    claims: |_| true,
    method: Some(method),
    read: |reader, found| read_pairs(reader, "lora_A.weight", "lora_B.weight", found),
    frozen: |_| Vec::new(),
    write,
}];
/// The format of low-rank pairs.
pub(crate) const LORA: &str = "LORA";

static KIND: DeltaKind = DeltaKind {
    name: "low_rank",
    operation: Some(Operation::Add),
    exclusive: false,
    merge: Merge::Add,
    read: |entry, target, _| {
        let delta = LowRank {
            rank: entry.size,
            scale: entry.scale.unwrap_or(1.0),
        };
        Ok(target.linear().map(|_| Arc::new(delta) as Arc<dyn Delta>))
    },
};

/// scale B A, A `[rank, in]`, B `[out, rank]`.
#[derive(Clone, Debug)]
pub(crate) struct LowRank {
    pub(crate) rank: usize,
    /// alpha / rank.
    pub(crate) scale: f64,
}

impl LowRank {
    /// A delta of a rank and an alpha.
    pub(crate) fn new(rank: usize, alpha: f64) -> Self {
        Self {
            rank,
            scale: alpha / rank as f64,
        }
    }
}

impl BuildDeltas for Lora {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        for (id, site) in context.linear(&self.targets, "method.targets")? {
            let delta = LowRank::new(self.rank, self.alpha);
            layout.push(AttachPoint::Site(id), Target::Site(site), delta);
        }
        Ok(())
    }
}

impl Delta for LowRank {
    fn kind(&self) -> &'static DeltaKind {
        &KIND
    }

    fn tensors(&self, target: Target<'_>) -> Vec<TensorSpec> {
        let [outputs, inputs] = target.matrix();
        // Kaiming-uniform with a = sqrt(5), as in peft.
        let bound = (inputs as f64).powf(-0.5);
        let tensor = |name: &str, part, shape, initial| TensorSpec {
            name: format!("{}.{name}", target.name()),
            part,
            shape,
            initial,
        };
        let uniform = Initial::Uniform { bound };
        vec![
            tensor("lora_A", "low_rank_a", vec![self.rank, inputs], uniform),
            tensor(
                "lora_B",
                "low_rank_b",
                vec![outputs, self.rank],
                Initial::Zero,
            ),
        ]
    }

    fn count(&self, target: Target<'_>) -> u64 {
        let [outputs, inputs] = target.matrix();
        (self.rank * (outputs + inputs)) as u64
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
        let (a, b, scale) = (tensors.matrix(0), tensors.matrix(1), self.scale);
        hooks.additions.push(Box::new(move |x, y| {
            // On the activation side: x Aᵀ Bᵀ, never a dense B A (design decision 4).
            let narrow = linear(x.clone(), a.clone(), None) * scale;
            y + linear(narrow, b.clone(), None)
        }));
    }

    fn merge(&self, values: &DeltaValues<'_>, tensor: &mut [f32], width: usize) {
        let factors = (values.of(0), values.of(1));
        add_product(tensor, factors, (self.rank, width), self.scale);
    }

    fn entry(&self, _target: Target<'_>) -> Entry {
        Entry {
            size: self.rank,
            scale: Some(self.scale),
            ..Entry::default()
        }
    }

    fn to_peft(&self, target: Target<'_>, values: &DeltaValues<'_>) -> Result<Piece, String> {
        let [outputs, inputs] = target.matrix();
        Ok(Piece {
            format: LORA,
            part: "",
            tensors: vec![
                (vec![self.rank, inputs], values.of(0).to_vec()),
                (vec![outputs, self.rank], values.of(1).to_vec()),
            ],
            positions: Vec::new(),
            scale: self.scale,
        })
    }

    fn activations(&self, _target: Target<'_>) -> usize {
        self.rank
    }

    fn needs_input(&self) -> bool {
        true
    }

    fn index_bytes(&self, _target: Target<'_>) -> u64 {
        0
    }

    fn cells(&self) -> Cells<'_> {
        Cells::None
    }
}

/// to += scale B A, summed in f64.
pub(crate) fn add_product(
    to: &mut [f32],
    (a, b): (&[f32], &[f32]),
    (rank, width): (usize, usize),
    scale: f64,
) {
    for (row, b) in to.chunks_exact_mut(width).zip(b.chunks_exact(rank)) {
        for (column, value) in row.iter_mut().enumerate() {
            let products = b.iter().enumerate();
            let sum: f64 = products
                .map(|(r, &b)| f64::from(b) * f64::from(a[r * width + column]))
                .sum();
            *value = (f64::from(*value) + scale * sum) as f32;
        }
    }
}

/// The rank, the alpha and the layers of an adapter of low-rank pairs.
///
/// # Errors
/// Names the field that LoRA does not have here.
pub(crate) fn pair_fields(config: &Config) -> Result<(usize, f64, Vec<String>), FileError> {
    for field in ["rank_pattern", "alpha_pattern"] {
        let set = config.get(field).and_then(Value::as_object);
        if set.is_some_and(|patterns| !patterns.is_empty()) {
            return Err(Config::error(format!(
                "{field}: found one, expected one rank and alpha for all layers to go on"
            )));
        }
    }
    let rank = config.whole("r")? as usize;
    let alpha = config.number("lora_alpha");
    let mut alpha =
        alpha.ok_or_else(|| Config::error("lora_alpha: is missing, expected a number".into()))?;
    if config.is_true("use_rslora") {
        alpha *= (rank as f64).sqrt(); // scaled by alpha / sqrt(r) there
    }
    Ok((rank, alpha, config.names("target_modules")?))
}

fn method(config: &Config) -> Result<Method, FileError> {
    let (rank, alpha, targets) = pair_fields(config)?;
    Ok(Lora {
        rank,
        alpha,
        targets,
    }
    .into())
}

/// A low-rank pair's scale.
pub(crate) fn pair_scale(config: &Config, path: &str, rank: usize) -> Result<f64, FileError> {
    let mut alpha = config.number("lora_alpha");
    if let Some(own) = config.pattern("alpha_pattern", path)? {
        alpha = own.as_f64();
    }
    let supertuning = config.word("peft_type") == "SUPERTUNING";
    let alpha = match (alpha, supertuning) {
        (Some(alpha), _) => alpha,
        // SUPERTUNING's default.
        (None, true) => 2.0 * rank as f64,
        (None, false) => {
            return Err(Config::error(
                "lora_alpha: is missing, expected a number".into(),
            ));
        }
    };
    let root = config.is_true("use_rslora");
    Ok(alpha
        / if root {
            (rank as f64).sqrt()
        } else {
            rank as f64
        })
}

/// Reads low-rank pairs whose tensors have these names.
pub(crate) fn read_pairs(
    reader: &mut Reader<'_>,
    a: &str,
    b: &str,
    found: &mut Found,
) -> Result<(), FileError> {
    for (module, path) in reader.with(a)? {
        let [outputs, inputs] = reader.shape(&module);
        let name = format!("{path}.{a}");
        reader.check_linear(&module, &name)?;
        let rank = reader.first_dimension(&name);
        let of_a = reader.floats(&name, &[rank, inputs])?;
        let of_b = reader.floats(&format!("{path}.{b}"), &[outputs, rank])?;
        let scale = pair_scale(&reader.config, &path, rank)?;
        let neutral = of_b.iter().all(|&v| v == 0.0);
        for &id in &module.weights {
            let site = &reader.architecture.sites[id];
            let rows = rows_of(site);
            // In a part of a fused layer a component may be 0: it belongs to another part.
            let used: Vec<usize> = (0..rank)
                .filter(|r| neutral || rows.iter().any(|row| of_b[row * rank + r] != 0.0))
                .collect();
            if used.is_empty() {
                continue;
            }
            let delta = LowRank {
                rank: used.len(),
                scale,
            };
            found
                .layout
                .push(AttachPoint::Site(id), Target::Site(site), delta);
            let a_rows = used.iter().map(|r| &of_a[r * inputs..(r + 1) * inputs]);
            found.values.extend(a_rows.flatten());
            for row in rows {
                found
                    .values
                    .extend(used.iter().map(|r| of_b[row * rank + r]));
            }
        }
    }
    Ok(())
}

/// A layer's path, its rank, its alpha.
pub(crate) type Size = (String, usize, f64);

fn write(pieces: &Pieces<'_>) -> Result<Written, FileError> {
    let (mut targets, mut tensors) = (Vec::new(), Vec::new());
    let mut sizes: Vec<Size> = Vec::new();
    for (module, parts) in pieces.modules() {
        let path = pieces.path(&module);
        let pairs: Vec<_> = parts
            .iter()
            .flat_map(|(id, at)| at.iter().map(|piece| (pieces.site(*id), *piece)))
            .collect();
        let rank_of = |piece: &Piece| piece.tensors[0].0[0];
        let (outputs, inputs) = (pieces.rows(&module), pairs[0].0.shape[1]);
        let rank: usize = pairs.iter().map(|(_, pair)| rank_of(pair)).sum();
        let scale = pairs[0].1.scale;
        if pairs.iter().any(|(_, pair)| pair.scale != scale) {
            return Err(FileError(format!(
                "{path}: its parts have deltas of different scales, LORA has one a layer; export it as merged or apet"
            )));
        }
        // Parts of a fused layer one below another, each with blocks of 0 beside its own.
        let (mut a, mut b) = (Vec::new(), vec![0.0; outputs * rank]);
        let mut first = 0;
        for (site, pair) in &pairs {
            let own_rank = rank_of(pair);
            a.extend_from_slice(&pair.tensors[0].1);
            let own_b = pair.tensors[1].1.chunks_exact(own_rank);
            for (row, own) in rows_of(site).into_iter().zip(own_b) {
                b[row * rank + first..row * rank + first + own_rank].copy_from_slice(own);
            }
            first += own_rank;
        }
        let name = |part: &str| format!("{WRAPPED}{path}.{part}.weight");
        tensors.push((name("lora_A"), vec![rank, inputs], a.into()));
        tensors.push((name("lora_B"), vec![outputs, rank], b.into()));
        sizes.push((path.clone(), rank, scale * rank as f64));
        targets.push(path);
    }
    Ok(Written {
        targets,
        fields: size_fields(&sizes),
        tensors,
        note: String::new(),
    })
}

/// The fields of a config that holds low-rank pairs of these sizes.
pub(crate) fn size_fields(sizes: &[Size]) -> Value {
    let (_, rank, alpha) = sizes[0].clone();
    let pattern = |differs: &dyn Fn(&Size) -> Option<Value>| -> Value {
        let own = sizes
            .iter()
            .filter_map(|size| Some((regex_lite::escape(&size.0), differs(size)?)));
        own.collect::<serde_json::Map<_, _>>().into()
    };
    let ranks = pattern(&|&(_, own, _)| (own != rank).then(|| json!(own)));
    let alphas = pattern(&|&(_, _, own)| (own != alpha).then(|| json!(own)));
    json!({
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    })
}
