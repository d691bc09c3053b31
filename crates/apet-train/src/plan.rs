//! What a run will take, before anything of it is there: counted from config.json and spec.

use apet_kernels::WIDE_NUMBERS;
use apet_plm::{Footprint, Kind, ModelArchitecture, Tokens};
use apet_record::{Dtype, Method, Objective, RunSpec, SpecError, ThetaInfo};
use apet_theta::Layout;
use burn::tensor::Device;

use crate::score::EVAL_ROWS;

/// Bytes of a number in arithmetic.
const F32: u64 = 4;
/// Assumed tokens of a label's word and the end token after it.
const TARGET: usize = 4;

/// Memory of a run in bytes, by purpose.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Scalars of the model, in all and without its embedding tables.
    pub parameters: (u64, u64),
    /// What is tuned.
    pub theta: ThetaInfo,
    /// The frozen weights.
    pub weights: u64,
    /// Theta's values, and where they lie.
    pub theta_bytes: u64,
    /// AdamW's two means.
    pub optimizer: u64,
    /// What a step, or an evaluation, holds beside all that at its worst moment: states
    /// that the gradients need, and the gradients. On a GPU one block's attention scores come
    /// on top; `cpu` never has them all.
    pub step: u64,
}

impl Plan {
    /// Upper bound of the whole run's floating point operations: every row has the maximum length, and all limited rows of
    /// dev and test are scored. Each weight counts one product in the forward pass, one for the gradient of the states, and a
    /// third if the weight itself is trained.
    pub fn operations(&self, spec: &RunSpec, classes: usize, (dev, test): (usize, usize)) -> f64 {
        let train = &spec.train;
        let (all, parameters) = self.parameters;
        let vocabulary = match spec.objective {
            Objective::ClassHead => 0,
            Objective::LabelWords => all - parameters,
        };
        let products = match spec.method {
            Method::Full(_) => 3.0,
            _ => 2.0,
        };
        let trained = (train.steps * train.batch_size * train.accumulation) as f64 * products;
        let asked = match spec.objective {
            Objective::LabelWords => classes.max(1),
            Objective::ClassHead => 1,
        };
        let evaluations = train.steps.div_ceil(train.eval_every.max(1));
        let scored = (evaluations * dev + test) as f64 * asked as f64;
        2.0 * (parameters + vocabulary) as f64 * spec.task.max_length as f64 * (trained + scored)
    }

    /// Plans the run of a spec on a model's architecture, with the given number of labels (0: answers are texts) and rows of
    /// `task.max_length` tokens.
    ///
    /// # Errors
    /// If the spec does not fit the model.
    pub fn new(
        architecture: &ModelArchitecture,
        spec: &RunSpec,
        classes: usize,
    ) -> Result<Self, SpecError> {
        let layout = Layout::new(architecture, spec, classes, None, &Device::flex())?;
        let theta = layout.len() as u64 * F32;
        Ok(Self {
            parameters: architecture.parameters(),
            weights: architecture.bytes(spec.dtype),
            theta_bytes: theta + layout.index_bytes(architecture),
            optimizer: 2 * theta,
            step: Step::new(architecture, spec, classes, &layout).bytes(),
            theta: layout.info,
        })
    }

    /// All of it.
    pub fn peak(&self) -> u64 {
        [self.theta_bytes, self.optimizer, self.step]
            .into_iter()
            .fold(self.weights, u64::saturating_add)
    }
}

/// One step, in numbers of f32. In 128 bits, because a plan may describe a run that no machine can hold.
struct Step<'a> {
    architecture: &'a ModelArchitecture,
    spec: &'a RunSpec,
    layout: &'a Layout,
    classes: usize,
    rows: u128,
    /// Tokens of a row that are read.
    source: u128,
    /// Tokens of a row that an encoder-decoder writes.
    target: u128,
    /// Tokens of a row's answer, where a language model gives it.
    answer: usize,
}

impl<'a> Step<'a> {
    fn new(
        architecture: &'a ModelArchitecture,
        spec: &'a RunSpec,
        classes: usize,
        layout: &'a Layout,
    ) -> Self {
        let (mut source, mut target) = (spec.task.max_length + layout.virtual_tokens(), 0);
        let answer = match classes {
            0 => apet_tasks::target_length(&spec.task),
            _ => TARGET,
        };
        if spec.objective == Objective::LabelWords {
            match architecture.kind() {
                Kind::EncoderDecoder => target = answer,
                _ => source += answer,
            }
        }
        Self {
            architecture,
            spec,
            classes,
            layout,
            rows: spec.train.batch_size as u128,
            source: source as u128,
            target: target as u128,
            answer,
        }
    }

    fn bytes(&self) -> u64 {
        let blocks: Vec<Footprint> = self
            .architecture
            .footprints()
            .into_iter()
            .filter(|block| block.tokens == Tokens::Source || self.target > 0)
            .collect();
        // An evaluation keeps nothing, but takes more rows.
        let evaluation = Self {
            rows: self.evaluated() as u128,
            ..*self
        };
        let evaluation = evaluation.forward(&blocks);
        let lowest = self
            .layout
            .lowest_block(self.architecture)
            .unwrap_or(usize::MAX);
        // Backwards from the last block, each gives back what it kept; the worst moment is
        // before one of them.
        let mut kept: u128 = 0;
        let mut worst = self.head();
        let by_block = self.spec.train.gradient_checkpointing;
        for block in &blocks {
            if block.block >= lowest && by_block {
                // The block's input is kept; the rest exists only while the block is recomputed.
                let states = self.rows * self.tokens(block.tokens);
                kept += states * block.hidden as u128;
                let passing = states * (block.inner + block.hidden) as u128;
                worst = worst.max(kept + self.kept(block) + passing);
            } else if block.block >= lowest {
                kept += self.kept(block);
                worst = worst.max(kept + self.passing(block));
            } else {
                worst = worst.max(self.passing(block));
            }
        }
        worst = worst.max(kept + self.head());
        let worst = (worst + self.bias(&blocks)).max(evaluation);
        let half = match self.spec.dtype {
            Dtype::F32 => 0,
            _ => self.largest().min(WIDE_NUMBERS as u128),
        };
        // Theta's own gradient: by weight, and as one vector.
        let update = 2 * self.layout.len() as u128;
        u64::try_from(u128::from(F32) * (worst + half).max(update)).unwrap_or(u64::MAX)
    }

    /// Rows of an evaluation's batch: of each a word of every label, where a language model is asked.
    fn evaluated(&self) -> usize {
        let task = &self.spec.task;
        if task.dev_rows == 0 || task.test_rows == 0 {
            return EVAL_ROWS; // the splits may have more
        }
        let words = match self.spec.objective {
            Objective::LabelWords => self.classes.max(1),
            Objective::ClassHead => 1,
        };
        EVAL_ROWS.min(words.saturating_mul(task.dev_rows.max(task.test_rows)))
    }

    /// A forward pass without gradients at its widest.
    fn forward(&self, blocks: &[Footprint]) -> u128 {
        let widest = blocks.iter().map(|block| {
            let states = self.rows * self.tokens(block.tokens);
            states * block.through_attention.max(block.through_inner) as u128
        });
        widest.max().unwrap_or(0).max(self.head()) + self.bias(blocks)
    }

    /// What is added to attention scores, where it is more than a number a key.
    fn bias(&self, blocks: &[Footprint]) -> u128 {
        let bias = blocks.iter().map(|block| {
            let tokens = self.tokens(block.tokens);
            self.rows * tokens * tokens * block.bias_heads as u128
        });
        bias.max().unwrap_or(0)
    }

    fn tokens(&self, tokens: Tokens) -> u128 {
        match tokens {
            Tokens::Source => self.source,
            Tokens::Target => self.target,
        }
    }

    /// Numbers that a block keeps.
    fn kept(&self, block: &Footprint) -> u128 {
        let (own, source) = (self.tokens(block.tokens), self.source);
        let mut kept = own * block.kept as u128 + source * block.kept_of_source as u128;
        // A layer's input is kept where a gradient is made of it.
        let of_input = self.layout.input_sites();
        let is_tuned = |ends: &[&str]| {
            of_input.iter().any(|&site| {
                let site = &self.architecture.sites[site];
                let ends_so = ends.iter().any(|end| site.tensor.ends_with(end));
                site.layer == Some(block.block) && ends_so
            })
        };
        for input in &block.inputs {
            if is_tuned(input.layers) {
                kept += self.tokens(input.tokens) * input.width as u128;
            }
        }
        kept += own * self.layout.activations(self.architecture, block.block) as u128;
        self.rows * kept
    }

    /// What passes through a block at its widest: the feed-forward layer's inner states with
    /// their gradient.
    fn passing(&self, block: &Footprint) -> u128 {
        let states = self.rows * self.tokens(block.tokens);
        states * (2 * block.inner + block.hidden) as u128
    }

    /// What stands at the end of the forward pass: scores of classes, or of the vocabulary,
    /// with their gradient.
    fn head(&self) -> u128 {
        match self.spec.objective {
            Objective::ClassHead => self.rows * self.classes as u128,
            Objective::LabelWords => {
                let vocabulary = self.architecture.config.vocabulary();
                3 * self.rows * (self.answer * vocabulary) as u128
            }
        }
    }

    /// Numbers of the largest matrix that is multiplied with.
    fn largest(&self) -> u128 {
        let sites = self.architecture.sites.iter();
        sites.map(|site| site.len() as u128).max().unwrap_or(0)
    }
}
