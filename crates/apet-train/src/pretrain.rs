//! Pre-training: all weights of a model from random values, on plain text. An encoder learns tokens that were
//! masked (Devlin et al., 2019, section 3.1, without the next sentence; masks drawn anew each time as in Liu et
//! al., 2019), a decoder the next one.

use std::collections::HashMap;

use apet_kernels::cross_entropy;
use apet_plm::{Encoded, Kind, ModelArchitecture, Plm, Site};
use apet_record::{Group, Method, Optimizer, Part, RunSpec, SpecError, Stream};
use apet_theta::{Initial, Layout, Leaves, Theta, Weight};
use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{AdamW, TrainError, trainer::read};

/// How a model is pre-trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Optimizer steps.
    pub steps: usize,
    /// Sequences a batch.
    pub batch_size: usize,
    /// Tokens of a sequence, special ones too.
    pub length: usize,
    /// Peak of the learning rate, after the warm-up; it then falls to 0, linearly.
    pub learning_rate: f64,
    /// Steps of the warm-up.
    pub warmup: usize,
    /// AdamW's decay of matrices and tables; biases and norms have none.
    pub weight_decay: f64,
    /// Maximum norm of the gradient.
    pub clip_norm: f64,
    /// Share of tokens that an encoder must predict.
    pub masked: f64,
    /// First steps in which an encoder's tokens attend only to earlier ones and each predicts the next one, which
    /// gives many more predictions for each sequence (Gisserot-Boukhlef et al., 2025).
    pub causal_steps: usize,
    /// Deviation of the initial matrices and tables; 0 is that of BERT, 0.02 at width 768, at the model's width.
    pub deviation: f64,
    /// Seed of initial values, order and masks.
    pub seed: u64,
    /// Steps between validations.
    pub validate_every: usize,
    /// Sequences of a validation, the first ones.
    pub validate_on: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            steps: 10_000,
            batch_size: 32,
            length: 128,
            learning_rate: 1e-3,
            warmup: 500,
            weight_decay: 0.01,
            clip_norm: 1.0,
            masked: 0.15,
            causal_steps: 0,
            deviation: 0.0,
            seed: 0,
            validate_every: 1000,
            validate_on: 512,
        }
    }
}

impl Recipe {
    /// The learning rate of a step, from 0.
    pub fn rate(&self, step: usize) -> f64 {
        let (step, warmup) = (step as f64, self.warmup as f64);
        let rising = (step + 1.0) / warmup.max(1.0);
        let falling = (self.steps as f64 - step) / (self.steps as f64 - warmup).max(1.0);
        self.learning_rate * rising.min(falling).clamp(0.0, 1.0)
    }

    fn optimizer(&self) -> Optimizer {
        let mut optimizer = Optimizer {
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            ..Optimizer::default()
        };
        optimizer.groups = vec![Group {
            weights: r"\.bias$|[Nn]orm|ln_f".into(),
            learning_rate: None,
            weight_decay: Some(0.0),
        }];
        optimizer
    }
}

/// Special tokens of an encoder's sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The first token of a sequence, BERT's `[CLS]`.
    pub first: u32,
    /// The last token of a sequence, `[SEP]`.
    pub last: u32,
    /// The replacement of a token to predict, `[MASK]`.
    pub mask: u32,
}

/// What a model guesses on text it was not trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guesses {
    /// Mean cross-entropy, nats a guessed token.
    pub loss: f64,
    /// Share of tokens that were guessed first.
    pub accuracy: f64,
    /// Guessed tokens.
    pub tokens: usize,
}

impl Guesses {
    /// exp of the loss.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

/// Sequences with the places where a token must be guessed, and which it is.
struct Riddles {
    /// Whether tokens see no later ones, though the model is an encoder.
    causal: bool,
    sequences: Vec<Encoded>,
    /// Places in the batch: row times length and token; in order.
    places: Vec<i32>,
    answers: Vec<i32>,
}

/// A model in pre-training.
#[derive(Debug)]
pub struct Pretrainer<'a> {
    plm: &'a Plm,
    recipe: Recipe,
    marks: Option<Marks>,
    /// The corpus, one text after another.
    tokens: &'a [u16],
    theta: Theta,
    optimizer: AdamW,
    step: usize,
    /// What a checkpoint must be of: recipe, shapes and corpus.
    name: String,
    /// The order of an epoch's sequences.
    order: (u64, Vec<u32>),
}

impl<'a> Pretrainer<'a> {
    /// `plm` gives the shapes, its values are not used. An encoder needs `marks`.
    ///
    /// # Errors
    /// Names the field of the recipe that does not fit the model or the corpus.
    pub fn new(
        plm: &'a Plm,
        recipe: &Recipe,
        marks: Option<Marks>,
        tokens: &'a [u16],
    ) -> Result<Self, TrainError> {
        let refuse = |field: &str, problem: String| {
            let field = field.into();
            Err(TrainError::Spec(SpecError { field, problem }))
        };
        if recipe.length < 8 || recipe.length > plm.max_length() {
            return refuse(
                "length",
                format!(
                    "found {}, expected 8 to the model's positions, {}",
                    recipe.length,
                    plm.max_length()
                ),
            );
        }
        if recipe.steps == 0 || recipe.batch_size == 0 {
            return refuse("steps", "found no step or an empty batch".into());
        }
        if tokens.len() < 2 * recipe.length {
            let found = tokens.len();
            return refuse(
                "corpus",
                format!("found {found} tokens, expected more than two sequences"),
            );
        }
        if (plm.kind() == Kind::Encoder) != marks.is_some() || plm.kind() == Kind::EncoderDecoder {
            return refuse(
                "model",
                "expected an encoder whose tokenizer has [CLS], [SEP] and [MASK], or a decoder"
                    .into(),
            );
        }
        let mut spec = RunSpec::new(&plm.info().name, "pretraining");
        spec.method = Method::full();
        spec.optimizer = recipe.optimizer();
        let used = |site: &Site| site.part != Part::Pooler;
        let mut layout = Layout::over(
            plm.architecture(),
            &spec,
            None,
            None,
            plm.device(),
            (&used, &|_| true),
        )?;
        // A layer's output must be as large as at width 768, for which 0.02 is meant: if it is smaller, attention
        // is uniform and a narrow model learns only token frequencies.
        let deviation = match recipe.deviation {
            0.0 => 0.02 * (768.0 / plm.info().hidden as f64).sqrt(),
            own => own,
        };
        for weight in &mut layout.weights {
            weight.initial = match weight.shape.len() {
                1 if weight.name.ends_with("bias") => Initial::Zero,
                1 => Initial::One,
                _ => Initial::Normal { deviation },
            };
        }
        let mut theta = Theta::of(plm, recipe.seed, layout);
        begin_local(&mut theta, deviation);
        Ok(Self {
            plm,
            marks,
            tokens,
            optimizer: AdamW::new(&spec.optimizer, theta.weights(), plm.device()),
            theta,
            recipe: recipe.clone(),
            name: name(plm.architecture(), recipe, tokens),
            step: 0,
            order: (u64::MAX, Vec::new()),
        })
    }

    /// Steps made.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// All weights.
    pub fn theta(&self) -> &Theta {
        &self.theta
    }

    /// One optimizer step; gives the mean loss of its tokens, `[1]`, before it.
    pub fn step(&mut self) -> Tensor<1> {
        let riddles = self.riddles();
        let leaves = self.theta.leaves();
        let (losses, _) = self.losses(&riddles, &leaves);
        let loss = losses.mean();
        let mut gradients = loss.backward();
        let gradient = self.theta.gradient(&leaves, &mut gradients);
        drop(leaves);
        let rate = self.recipe.rate(self.step);
        let optimizer = &mut self.optimizer;
        self.theta
            .change(|values| optimizer.update(values, gradient, rate));
        self.step += 1;
        loss.inner()
    }

    /// Guesses on other text: its first sequences, always with the same masks.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn validate(&self, tokens: &[u16]) -> Result<Guesses, TrainError> {
        let constants = self.theta.constants();
        let body = self.body();
        let most = (tokens.len() / body).min(self.recipe.validate_on);
        let mut stream = Stream::new("pretrain validation", 0);
        let (mut loss, mut right, mut count) = (0.0, 0usize, 0usize);
        let windows: Vec<&[u16]> = tokens.chunks_exact(body).take(most).collect();
        for part in windows.chunks(self.recipe.batch_size) {
            let riddles = self.ask(part.iter().copied(), &mut stream);
            let (losses, logits) = self.losses(&riddles, &constants);
            loss += read(losses)
                .await?
                .iter()
                .map(|&l| f64::from(l))
                .sum::<f64>();
            let found = logits.argmax(1).into_data_async().await;
            let found = found.map_err(|e| TrainError::Device(e.to_string()))?;
            let answers = riddles.answers.iter().map(|&id| i64::from(id));
            right += found
                .iter::<i64>()
                .zip(answers)
                .filter(|(a, b)| a == b)
                .count();
            count += riddles.answers.len();
        }
        Ok(Guesses {
            loss: loss / count.max(1) as f64,
            accuracy: right as f64 / count.max(1) as f64,
            tokens: count,
        })
    }

    /// Cross-entropy of every riddle, nats, and its scores.
    fn losses(&self, riddles: &Riddles, leaves: &Leaves) -> (Tensor<1>, Tensor<2>) {
        let sequences: Vec<&Encoded> = riddles.sequences.iter().collect();
        let batch = self.plm.batch(&sequences);
        let batch = if riddles.causal {
            batch.causal()
        } else {
            batch
        };
        let tap = self.theta.hooks(leaves);
        let states = self.plm.pass(&batch, &tap).whole(&tap);
        let guessed = states.select(0, self.ints(&riddles.places));
        let logits = self.plm.token_scores(guessed, &tap);
        let losses = cross_entropy(logits.clone(), self.ints(&riddles.answers));
        (losses, logits)
    }

    fn ints(&self, values: &[i32]) -> Tensor<1, Int> {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Tensor::from_data(data, (self.plm.device(), DType::I32))
    }

    /// Tokens of the corpus in a sequence.
    fn body(&self) -> usize {
        let marks = if self.marks.is_some() { 2 } else { 0 };
        self.recipe.length - marks
    }

    /// The sequences of the current step: each epoch has its own order, and starts its first
    /// sequence at a different token.
    fn riddles(&mut self) -> Riddles {
        let (body, seed) = (self.body(), self.recipe.seed);
        let count = (self.tokens.len() - body) / body;
        let first = self.step * self.recipe.batch_size;
        let mut windows = Vec::with_capacity(self.recipe.batch_size);
        for at in first..first + self.recipe.batch_size {
            let epoch = (at / count) as u64;
            let mut stream = Stream::new(&format!("pretrain epoch {epoch}"), seed);
            let offset = stream.below(body as u64) as usize;
            if self.order.0 != epoch {
                let mut order: Vec<u32> = (0..count as u32).collect();
                stream.shuffle(&mut order);
                self.order = (epoch, order);
            }
            let begin = offset + self.order.1[at % count] as usize * body;
            windows.push(&self.tokens[begin..begin + body]);
        }
        let mut stream = Stream::new(&format!("pretrain masks {}", self.step), seed);
        self.ask(windows.into_iter(), &mut stream)
    }

    /// What must be guessed in some sequences.
    fn ask<'t>(&self, windows: impl Iterator<Item = &'t [u16]>, stream: &mut Stream) -> Riddles {
        let mut riddles = Riddles {
            causal: self.marks.is_some() && self.step < self.recipe.causal_steps,
            sequences: Vec::new(),
            places: Vec::new(),
            answers: Vec::new(),
        };
        let length = self.recipe.length;
        let vocabulary = self.plm.architecture().config.vocabulary() as u64;
        let causal = riddles.causal;
        for (row, window) in windows.enumerate() {
            let own = window.iter().map(|&id| u32::from(id));
            let mut guess = |at: usize, id: u32| {
                riddles.places.push((row * length + at) as i32);
                riddles.answers.push(id as i32);
            };
            let ids: Vec<u32> = match self.marks {
                // The next token.
                None => {
                    for (at, &id) in window.iter().enumerate().skip(1) {
                        guess(at - 1, id.into());
                    }
                    own.collect()
                }
                // Of what must be guessed 80 % are masked, 10 % another token, 10 % as they are.
                Some(marks) => {
                    let mut ids = vec![marks.first];
                    ids.extend(own);
                    ids.push(marks.last);
                    if causal {
                        for (at, &id) in ids.iter().enumerate().take(length - 1).skip(1) {
                            guess(at - 1, id);
                        }
                    }
                    for (at, id) in ids.iter_mut().enumerate().take(length - 1).skip(1) {
                        if causal || stream.uniform() >= self.recipe.masked {
                            continue;
                        }
                        guess(at, *id);
                        match stream.below(10) {
                            0 => *id = stream.below(vocabulary) as u32,
                            1 => {}
                            _ => *id = marks.mask,
                        }
                    }
                    ids
                }
            };
            riddles.sequences.push(Encoded {
                types: vec![0; ids.len()],
                ids,
            });
        }
        riddles
    }

    /// The checkpoint as a safetensors file.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn checkpoint(&self) -> Result<Vec<u8>, TrainError> {
        let wrong = |e: safetensors::SafeTensorError| TrainError::Checkpoint(e.to_string());
        let bytes =
            |values: Vec<f32>| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let values = bytes(read(self.theta.values()).await?);
        let moments = bytes(read(self.optimizer.moments.clone()).await?);
        let view = |bytes| TensorView::new(Dtype::F32, vec![<[u8]>::len(bytes) / 4], bytes);
        let views = [
            ("values", view(&values[..]).map_err(wrong)?),
            ("moments", view(&moments[..]).map_err(wrong)?),
        ];
        let about = HashMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("recipe".to_owned(), self.name.clone()),
        ]);
        safetensors::serialize(views, Some(about)).map_err(wrong)
    }

    /// Resumes from a checkpoint of the same recipe, model and corpus.
    ///
    /// # Errors
    /// If it belongs to a different one, or is damaged.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let wrong = |problem: String| TrainError::Checkpoint(problem);
        let (_, about) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(e.to_string()))?;
        let about = about.metadata().clone().unwrap_or_default();
        if about.get("recipe") != Some(&self.name) {
            return Err(wrong("it is of another recipe, model or corpus".into()));
        }
        let step = about.get("step").and_then(|step| step.parse().ok());
        let file = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
        let tensor = |name: &str, size: usize| -> Result<Tensor<1>, TrainError> {
            let view = file.tensor(name).map_err(|e| wrong(e.to_string()))?;
            let values = apet_plm::floats(apet_plm::Dtype::F32, view.data());
            if values.len() != size {
                return Err(wrong(format!(
                    "{name} has {} numbers, not {size}",
                    values.len()
                )));
            }
            let data = TensorData::new(values, [size]);
            Ok(Tensor::from_data(data, (self.plm.device(), DType::F32)))
        };
        let size = self.theta.layout().len();
        let (values, moments) = (tensor("values", size)?, tensor("moments", 2 * size)?);
        self.step = step.ok_or_else(|| wrong("it does not say at which step it is".into()))?;
        self.theta.set_values(values);
        self.optimizer.moments = moments;
        self.optimizer.updates = self.step;
        Ok(())
    }
}

/// Lets an encoder with absolute positions begin by looking at a token's neighbours: its positions are waves (Vaswani
/// et al., 2017, section 3.5), as far from 0 as the other tables, and its keys are its queries (as Trockman and
/// Kolter, 2023, "Mimetic Initialization of Self-Attention Layers"). Small models on little text are otherwise
/// long in finding out where to look.
fn begin_local(theta: &mut Theta, deviation: f64) {
    let range = |weight: &Weight| weight.offset..weight.offset + weight.len();
    let weights = theta.weights().to_vec();
    for weight in &weights {
        let values = theta.values();
        let initial = if weight.name.ends_with("position_embeddings.weight") {
            let waves = waves(weight.shape[0], weight.shape[1], deviation);
            let data = TensorData::new(waves, [weight.len()]);
            Tensor::from_data(data, (&values.device(), DType::F32))
        } else if let Some(layer) = weight.name.strip_suffix("self.key.weight") {
            let query = format!("{layer}self.query.weight");
            let Some(query) = weights.iter().find(|weight| weight.name == query) else {
                continue;
            };
            values.clone().slice([range(query)])
        } else {
            continue;
        };
        theta.set_values(values.slice_assign([range(weight)], initial));
    }
}

/// Sines and cosines of positions, `[rows * width]`.
fn waves(rows: usize, width: usize, deviation: f64) -> Vec<f32> {
    let value = |position: usize, at: usize| {
        let turn = libm::pow(10_000.0, -((at / 2 * 2) as f64) / width as f64);
        let angle = position as f64 * turn;
        let wave = match at % 2 {
            0 => libm::sin(angle),
            _ => libm::cos(angle),
        };
        (wave * deviation * std::f64::consts::SQRT_2) as f32
    };
    let row = |position| (0..width).map(move |at| value(position, at));
    (0..rows).flat_map(row).collect()
}

/// A hash of what decides a pre-training.
fn name(architecture: &ModelArchitecture, recipe: &Recipe, tokens: &[u16]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(serde_json::to_string(recipe).unwrap_or_default().as_bytes());
    for site in &architecture.sites {
        hasher.update(format!("{} {:?};", site.name, site.shape).as_bytes());
    }
    for part in tokens.chunks(1 << 16) {
        let bytes: Vec<u8> = part.iter().flat_map(|id| id.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}
