//! Scores on a split: the likeliest class, or what is written, beside what is right.

use apet_plm::{Encoded, Prompted};
use apet_record::{Metric, Objective};
use apet_tasks::metrics;
use apet_theta::{DeltaHooks, Leaves};
use burn::Tensor;

use crate::{
    TrainError, Trainer,
    rows::{Answers, Rows, Target},
    trainer::read,
};

/// Rows of an evaluation batch: no gradients are kept, so more fit than in training.
pub(crate) const EVAL_ROWS: usize = 32;

/// Scores on a split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// How answers are scored.
    pub metric: Metric,
    /// The score.
    pub score: f64,
    /// Mean cross-entropy, nats: of the rows, or of the tokens that are right.
    pub loss: f64,
    /// Rows.
    pub rows: usize,
}

/// What the model answers to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The most likely class; `None` if a score is NaN.
    Class(Option<usize>),
    /// The generated text.
    Text(String),
}

impl Trainer<'_> {
    /// Class scores of training rows with theta's present values, `[rows, classes]`.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn predict(&self, rows: &[usize]) -> Result<Vec<f32>, TrainError> {
        self.class_scores(&self.train, rows).await
    }

    /// Scores on dev.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn score_dev(&self) -> Result<Scores, TrainError> {
        self.score(&self.dev).await
    }

    /// Scores on test.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn score_test(&self) -> Result<Scores, TrainError> {
        self.score(&self.test).await
    }

    /// Scores on dev, and what was answered to its rows, in their order.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn predict_dev(&self) -> Result<(Scores, Vec<Prediction>), TrainError> {
        self.answered(&self.dev).await
    }

    /// The same of test.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn predict_test(&self) -> Result<(Scores, Vec<Prediction>), TrainError> {
        self.answered(&self.test).await
    }

    /// Scores theta's present values on rows.
    async fn score(&self, rows: &Rows) -> Result<Scores, TrainError> {
        Ok(self.answered(rows).await?.0)
    }

    async fn answered(&self, rows: &Rows) -> Result<(Scores, Vec<Prediction>), TrainError> {
        // Sequences of like length share a batch: less padding, same scores.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&r| rows.texts[r].ids.len());
        let (score, loss, answers) = match &rows.answers {
            Answers::Classes(classes) => {
                let gold: Vec<usize> = order.iter().map(|&row| classes[row]).collect();
                let scores = self.class_scores(rows, &order).await?;
                let (score, loss, classes) = self.of_classes(&scores, &gold);
                let answers = classes.into_iter().map(Prediction::Class).collect();
                (score, loss, answers)
            }
            Answers::Texts(texts) => {
                let written = self.written(rows, &order).await?;
                let right = order.iter().map(|&row| &texts[row].right[..]);
                let right: Vec<&[String]> = right.collect();
                let score = metrics::score_texts(self.metric, &written, &right);
                let loss = self.loss_of_texts(rows, &order, texts).await?;
                let answers: Vec<_> = written.into_iter().map(Prediction::Text).collect();
                (score, loss, answers)
            }
        };
        let mut answers: Vec<(usize, Prediction)> = order.into_iter().zip(answers).collect();
        answers.sort_by_key(|(row, _)| *row);
        let scores = Scores {
            metric: self.metric,
            score,
            loss,
            rows: rows.len(),
        };
        let answers = answers.into_iter().map(|(_, answer)| answer);
        Ok((scores, answers.collect()))
    }

    /// The metric, the mean loss and the likeliest of classes' scores `[rows, classes]`.
    fn of_classes(&self, scores: &[f32], gold: &[usize]) -> (f64, f64, Vec<Option<usize>>) {
        let classes = self.words.len();
        let (mut predicted, mut loss, mut count) = (Vec::with_capacity(gold.len()), 0f64, 0);
        for (scores, &right) in scores.chunks_exact(classes).zip(gold) {
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // None if a score is NaN: then no answer is correct.
            let answer = scores.iter().position(|&s| s == best);
            predicted.push(answer);
            match self.spec().objective {
                Objective::ClassHead => {
                    let sum: f64 = scores.iter().map(|&s| f64::from(s - best).exp()).sum();
                    loss += sum.ln() - f64::from(scores[right] - best);
                    count += 1;
                }
                Objective::LabelWords => {
                    loss -= f64::from(scores[right]);
                    count += self.words[right].len();
                }
            }
        }
        // A class that there is none of is never right.
        let counted: Vec<usize> = predicted.iter().map(|p| p.unwrap_or(classes)).collect();
        let score = metrics::score_classes(self.metric, &counted, gold);
        (score, loss / count.max(1) as f64, predicted)
    }

    /// Scores of every class, `[rows, classes]`: the head's, or log-likelihoods of the
    /// labels' words. Rows are taken some at a time, in the given order.
    pub(crate) async fn class_scores(
        &self,
        from: &Rows,
        rows: &[usize],
    ) -> Result<Vec<f32>, TrainError> {
        let constants = self.theta.constants();
        match self.spec().objective {
            Objective::ClassHead => {
                let parts = rows.chunks(EVAL_ROWS);
                let parts = parts.map(|part| self.head_logits(from, part, &constants));
                read(Tensor::cat(parts.collect(), 0)).await
            }
            Objective::LabelWords => {
                let tap = self.theta.hooks(&constants);
                let mut scores = Vec::with_capacity(rows.len() * self.words.len());
                for part in rows.chunks((EVAL_ROWS / self.words.len()).max(1)) {
                    let asked = part
                        .iter()
                        .flat_map(|&row| self.words.iter().map(move |word| from.asked(row, word)));
                    let likely = self.likely(asked.collect(), &tap).await?;
                    scores.extend(likely.into_iter().map(|score| score as f32));
                }
                Ok(scores)
            }
        }
    }

    async fn likely(
        &self,
        asked: Vec<Prompted>,
        tap: &DeltaHooks<'_>,
    ) -> Result<Vec<f64>, TrainError> {
        let asked: Vec<&Prompted> = asked.iter().collect();
        Ok(self.plm().log_likelihoods(&asked, tap).await?)
    }

    /// The classification head's scores, `[rows, classes]`.
    fn head_logits(&self, from: &Rows, rows: &[usize], leaves: &Leaves) -> Tensor<2> {
        let texts: Vec<&Encoded> = rows.iter().map(|&r| &from.texts[r]).collect();
        let plm = self.plm();
        let batch = plm.batch(&texts);
        let tap = self.theta.hooks(leaves);
        let states = plm.states(&batch, &tap);
        tap.head(plm.pool(&batch, states, self.spec().head.pooling, &tap))
    }

    /// The text that the model generates after each prompt, up to its end token or the end of the line.
    async fn written(&self, from: &Rows, rows: &[usize]) -> Result<Vec<String>, TrainError> {
        let constants = self.theta.constants();
        let tap = self.theta.hooks(&constants);
        let plm = self.plm();
        let mut written = Vec::with_capacity(rows.len());
        for part in rows.chunks(EVAL_ROWS) {
            let prompts: Vec<&[u32]> = part.iter().map(|&r| &from.texts[r].ids[..]).collect();
            let most = self.target_length;
            for ids in plm.generate(&prompts, most, plm.ends(), &tap).await? {
                let text = plm.tokenizer().decode(&ids)?;
                let line = text.trim_start().lines().next().unwrap_or_default();
                written.push(line.trim_end().to_owned());
            }
        }
        Ok(written)
    }

    /// Mean cross-entropy of the right texts' tokens.
    async fn loss_of_texts(
        &self,
        from: &Rows,
        rows: &[usize],
        texts: &[Target],
    ) -> Result<f64, TrainError> {
        let constants = self.theta.constants();
        let tap = self.theta.hooks(&constants);
        let mut loss = 0.0;
        for part in rows.chunks(EVAL_ROWS) {
            let asked = part.iter().map(|&row| from.asked(row, &texts[row].ids));
            loss -= self
                .likely(asked.collect(), &tap)
                .await?
                .iter()
                .sum::<f64>();
        }
        let tokens: usize = rows.iter().map(|&row| texts[row].ids.len()).sum();
        Ok(loss / tokens.max(1) as f64)
    }
}
