//! Language modelling: scores of target tokens, and generation.

use apet_checkpoint::{Encoded, PlmError};
use apet_kernels::cross_entropy;
use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};

use crate::{
    attention::Cache,
    batch::Batch,
    blocks::{Network, run_blocks},
    hooks::{INPUT, LayerHooks},
    model::Plm,
    pass::Pass,
};

/// A text and its continuation, in token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompted {
    /// The given text.
    pub source: Vec<u32>,
    /// The continuation, of which every token is scored.
    pub target: Vec<u32>,
}

/// Scores at the positions of the targets.
#[derive(Clone, Debug)]
pub struct TargetLogits {
    /// `[targets, vocabulary]`, the targets of all rows one after another.
    pub logits: Tensor<2>,
    /// The target token at each position, `[targets]`.
    pub targets: Tensor<1, Int>,
    /// The number of targets of each row.
    pub counts: Vec<usize>,
}

impl TargetLogits {
    /// Cross-entropy of every target, nats, `[targets]`.
    pub fn losses(self) -> Tensor<1> {
        cross_entropy(self.logits, self.targets)
    }
}

/// The forward pass of rows whose targets will be scored.
#[derive(Debug)]
pub struct TargetPass<'a> {
    plm: &'a Plm,
    /// The forward pass.
    pub pass: Pass<'a>,
    /// The states that predict the targets.
    places: Tensor<1, Int>,
    targets: Tensor<1, Int>,
    counts: Vec<usize>,
}

impl TargetPass<'_> {
    /// The targets' scores, from the last states of the pass.
    pub fn score(&self, states: Tensor<2>, hooks: &dyn LayerHooks) -> TargetLogits {
        let states = states.select(0, self.places.clone());
        TargetLogits {
            logits: self.plm.network.logits(states, hooks),
            targets: self.targets.clone(),
            counts: self.counts.clone(),
        }
    }
}

impl Plm {
    /// Scores at the positions of the targets, each from all tokens before it. A decoder's row
    /// needs a source, as nothing predicts a first token.
    ///
    /// # Errors
    /// When the model is an encoder, or no row has a target.
    pub fn target_logits(
        &self,
        rows: &[&Prompted],
        hooks: &dyn LayerHooks,
    ) -> Result<TargetLogits, PlmError> {
        let targets = self.target_pass(rows, hooks)?;
        let states = targets.pass.whole(hooks);
        Ok(targets.score(states, hooks))
    }

    /// The forward pass of the rows, with the positions of their targets.
    ///
    /// # Errors
    /// As [`Plm::target_logits`].
    pub fn target_pass(
        &self,
        rows: &[&Prompted],
        hooks: &dyn LayerHooks,
    ) -> Result<TargetPass<'_>, PlmError> {
        let targets: Vec<i32> = rows
            .iter()
            .flat_map(|row| self.scored(row))
            .map(|&id| id as i32)
            .collect();
        if targets.is_empty() {
            return Err(self.problem("found no target to score"));
        }
        let ahead = hooks.virtual_tokens(INPUT);
        let (pass, places) = match &self.network {
            Network::Encoder(_) => return Err(self.problem("an encoder cannot write text")),
            Network::Decoder(_) => {
                let whole = |row: &&Prompted| encoded([&row.source[..], &row.target].concat());
                let whole: Vec<Encoded> = rows.iter().map(whole).collect();
                let batch = self
                    .batch(&whole.iter().collect::<Vec<_>>())
                    .with_virtual_tokens(ahead);
                // Padded on the left, so every row ends with its targets. The state before a
                // token predicts it.
                let length = batch.length();
                let places = rows.iter().enumerate().flat_map(|(row, prompted)| {
                    let last = (row + 1) * length - 1;
                    last - self.scored(prompted).len()..last
                });
                let places = places.map(|place| place as i32).collect();
                (Pass::new(&self.network, batch, None), places)
            }
            Network::EncoderDecoder(both) => {
                let source = self.sources(rows.iter().map(|row| &row.source[..]));
                let source = source.with_virtual_tokens(ahead);
                let shifted = |row: &&Prompted| {
                    let before = &row.target[..row.target.len().saturating_sub(1)];
                    encoded([&[both.start()], before].concat())
                };
                let shifted: Vec<Encoded> = rows.iter().map(shifted).collect();
                let target = self.batch(&shifted.iter().collect::<Vec<_>>());
                let length = target.length();
                let places = rows.iter().enumerate().flat_map(|(row, prompted)| {
                    (row * length..row * length + prompted.target.len()).map(|place| place as i32)
                });
                let places = places.collect();
                (Pass::new(&self.network, source, Some(target)), places)
            }
        };
        Ok(TargetPass {
            plm: self,
            pass,
            places: self.ints(places),
            targets: self.ints(targets),
            counts: rows.iter().map(|row| self.scored(row).len()).collect(),
        })
    }

    /// A decoder's scores of the next token after each, padding and virtual tokens included,
    /// `[rows * length, vocabulary]`.
    ///
    /// # Errors
    /// When the model is not a decoder.
    pub fn logits(&self, batch: &Batch, hooks: &dyn LayerHooks) -> Result<Tensor<2>, PlmError> {
        match &self.network {
            Network::Decoder(decoder) => {
                let batch = batch.with_virtual_tokens(hooks.virtual_tokens(INPUT));
                let x = run_blocks(&**decoder, &batch, None, hooks, &mut |_| {});
                Ok(decoder.logits(x, hooks))
            }
            _ => Err(self.problem("only a decoder scores every token of a text")),
        }
    }

    /// log p(target | source) of each row, nats: label words are compared by it.
    ///
    /// # Errors
    /// As [`Plm::target_logits`], or when the device fails.
    pub async fn log_likelihoods(
        &self,
        rows: &[&Prompted],
        hooks: &dyn LayerHooks,
    ) -> Result<Vec<f64>, PlmError> {
        let scored = self.target_logits(rows, hooks)?;
        let counts = scored.counts.clone();
        let losses = self.read(scored.losses()).await?;
        let mut rest = losses.iter();
        let sum = |count: usize| rest.by_ref().take(count).map(|&l| -f64::from(l)).sum();
        Ok(counts.into_iter().map(sum).collect())
    }

    /// Continues each prompt with the likeliest tokens, until one of `ends` or `most` tokens.
    /// Returns the new tokens without the end token.
    ///
    /// # Errors
    /// When the model is an encoder, a prompt is empty, or the device fails.
    pub async fn generate(
        &self,
        prompts: &[&[u32]],
        most: usize,
        ends: &[u32],
        hooks: &dyn LayerHooks,
    ) -> Result<Vec<Vec<u32>>, PlmError> {
        if prompts.iter().any(|prompt| prompt.is_empty()) {
            return Err(self.problem("a prompt has no token to continue"));
        }
        let mut written = Written::new(prompts.len(), ends);
        let sources = self.sources(prompts.iter().copied());
        let sources = sources.with_virtual_tokens(hooks.virtual_tokens(INPUT));
        match &self.network {
            Network::Encoder(_) => return Err(self.problem("an encoder cannot write text")),
            Network::Decoder(decoder) => {
                let mut cache = Cache::default();
                let mut batch = sources;
                for _ in 0..most {
                    let x = run_blocks(&**decoder, &batch, Some(&mut cache), hooks, &mut |_| {});
                    let logits = decoder.logits(last(x, &batch), hooks);
                    let ids = self.likeliest(logits).await?;
                    if written.push(&ids) {
                        break;
                    }
                    batch = batch.next(&ids);
                }
            }
            Network::EncoderDecoder(both) => {
                let source = sources;
                let states = run_blocks(&**both, &source, None, hooks, &mut |_| {});
                let decoder = both.decoder(&source, &states);
                let mut cache = Cache::default();
                let start = encoded(vec![both.start()]);
                let mut batch = self.batch(&vec![&start; prompts.len()]);
                for _ in 0..most {
                    let x = run_blocks(&*decoder, &batch, Some(&mut cache), hooks, &mut |_| {});
                    let ids = self.likeliest(both.logits(x, hooks)).await?;
                    if written.push(&ids) {
                        break;
                    }
                    batch = batch.next(&ids);
                }
            }
        }
        Ok(written.rows)
    }

    fn sources<'a>(&self, sources: impl Iterator<Item = &'a [u32]>) -> Batch {
        let sources: Vec<Encoded> = sources.map(|ids| encoded(ids.to_vec())).collect();
        self.batch(&sources.iter().collect::<Vec<_>>())
    }

    /// The targets of a row that an earlier token predicts.
    fn scored<'a>(&self, row: &'a Prompted) -> &'a [u32] {
        let first = matches!(self.network, Network::Decoder(_)) && row.source.is_empty();
        &row.target[usize::from(first).min(row.target.len())..]
    }

    async fn likeliest(&self, logits: Tensor<2>) -> Result<Vec<u32>, PlmError> {
        let data = logits.argmax(1).into_data_async().await;
        let data = data.map_err(|e| self.problem(e.to_string()))?;
        Ok(data.iter::<i64>().map(|id| id as u32).collect())
    }

    async fn read(&self, tensor: Tensor<1>) -> Result<Vec<f32>, PlmError> {
        let data = tensor.into_data_async().await;
        let data = data.map_err(|e| self.problem(e.to_string()))?;
        Ok(data.iter::<f32>().collect())
    }

    fn ints(&self, values: Vec<i32>) -> Tensor<1, Int> {
        let size = values.len();
        Tensor::from_data(TensorData::new(values, [size]), (self.device(), DType::I32))
    }

    fn problem(&self, problem: impl Into<String>) -> PlmError {
        PlmError::new(&self.info().name, problem)
    }
}

fn encoded(ids: Vec<u32>) -> Encoded {
    Encoded {
        types: vec![0; ids.len()],
        ids,
    }
}

/// The state of every row's last token, `[rows, hidden]`.
fn last(x: Tensor<2>, batch: &Batch) -> Tensor<2> {
    let [_, hidden] = x.dims();
    let (rows, length) = (batch.rows(), batch.length());
    if length == 1 {
        return x;
    }
    x.reshape([rows, length, hidden])
        .narrow(1, length - 1, 1)
        .reshape([rows, hidden])
}

/// The tokens generated so far.
struct Written<'a> {
    rows: Vec<Vec<u32>>,
    ended: Vec<bool>,
    ends: &'a [u32],
}

impl<'a> Written<'a> {
    fn new(rows: usize, ends: &'a [u32]) -> Self {
        Self {
            rows: vec![Vec::new(); rows],
            ended: vec![false; rows],
            ends,
        }
    }

    /// Adds each row's next token, and returns whether every row has ended.
    fn push(&mut self, ids: &[u32]) -> bool {
        for ((row, ended), id) in self.rows.iter_mut().zip(&mut self.ended).zip(ids) {
            *ended |= self.ends.contains(id);
            if !*ended {
                row.push(*id);
            }
        }
        self.ended.iter().all(|&ended| ended)
    }
}
