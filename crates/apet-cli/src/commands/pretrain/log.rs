//! What a pre-training writes down as it goes, and the model's card at its end.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use apet_plm::{Kind, Plm};
use apet_store::write_atomic;
use apet_train::{Guesses, Recipe};
use serde::{Deserialize, Serialize};

use super::ladder::{Ladder, Rung};

/// Guesses on text that is not trained on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Validated {
    pub(super) step: usize,
    #[serde(flatten)]
    pub(super) guesses: Guesses,
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Step { step: usize, loss: f32, rate: f64 },
    Validation(Validated),
}

impl Line {
    fn step(&self) -> usize {
        match self {
            Self::Step { step, .. } => *step,
            Self::Validation(validated) => validated.step,
        }
    }
}

/// The log of a pre-training, a JSON line each.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    last: Option<Guesses>,
}

impl Log {
    /// Opens a log to resume at `step`: later lines, and a truncated one, are dropped.
    pub(super) fn open(path: &Path, step: usize) -> Result<Self> {
        let shown = || path.display().to_string();
        let lines = read(path)?;
        let kept = lines.iter().filter(|(line, _)| line.step() <= step);
        // As they were written: numbers may be read as their neighbours.
        let text: String = kept.clone().map(|(_, text)| format!("{text}\n")).collect();
        write_atomic(path, |out| Ok(out.write_all(text.as_bytes())?))?;
        let mut last = kept.filter_map(|(line, _)| match line {
            Line::Validation(validated) => Some(validated.guesses),
            Line::Step { .. } => None,
        });
        Ok(Self {
            path: path.to_owned(),
            last: last.next_back(),
            file: OpenOptions::new()
                .append(true)
                .open(path)
                .with_context(shown)?,
        })
    }

    pub(super) fn step(&mut self, step: usize, loss: f32, rate: f64) -> Result<()> {
        self.write(&Line::Step { step, loss, rate })
    }

    pub(super) fn validation(&mut self, step: usize, guesses: Guesses) -> Result<()> {
        self.last = Some(guesses);
        self.write(&Line::Validation(Validated { step, guesses }))
    }

    /// Brings all lines to the disk: a checkpoint must not be ahead of them.
    pub(super) fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .with_context(|| self.path.display().to_string())
    }

    /// A sentence about the last validation.
    pub(super) fn last(&self) -> String {
        self.last.map_or_else(String::new, |guesses| {
            format!(", {:.1} % of held-out tokens", 100.0 * guesses.accuracy)
        })
    }

    /// All validations.
    pub(super) fn validations(&self) -> Result<Vec<Validated>> {
        let lines = read(&self.path)?.into_iter();
        Ok(lines
            .filter_map(|(line, _)| match line {
                Line::Validation(validated) => Some(validated),
                Line::Step { .. } => None,
            })
            .collect())
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let written = self.file.write_all(text.as_bytes());
        written.with_context(|| self.path.display().to_string())
    }
}

/// The lines that are whole, and their texts.
fn read(path: &Path) -> Result<Vec<(Line, String)>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let whole = |text: &str| Some((serde_json::from_str(text).ok()?, text.to_owned()));
    Ok(text.lines().filter_map(whole).collect())
}

/// The README.md of a model.
pub(super) fn card(
    rung: &Rung,
    ladder: &Ladder,
    plm: &Plm,
    recipe: &Recipe,
    corpus: usize,
    validations: &[Validated],
) -> String {
    let info = plm.info();
    let seen = recipe.steps * recipe.batch_size * recipe.length;
    let guessed = match plm.kind() {
        Kind::Encoder => {
            let masked = format!("{:.0} % of the tokens, masked", 100.0 * recipe.masked);
            match recipe.causal_steps {
                0 => masked,
                first => format!("{masked}; in the first {first} steps every next token"),
            }
        }
        _ => "every next token".to_owned(),
    };
    let mut text = format!(
        "# {}\n\n{} of {} blocks of width {}, {} parameters ({} without the token table), trained from random\n\
         values with `apet pretrain`.\n\n{}\n\n| | |\n|---|---|\n| corpus | {corpus} tokens |\n| seen | {seen} tokens, {:.1} times the corpus |\n\
         | steps | {} of {} sequences of {} tokens |\n| guessed | {guessed} |\n| learning rate | {}, {} steps of warm-up, then falling to 0 |\n| seed | {} |\n\n\
         On text that was held out ({} tokens guessed):\n\n| step | loss, nats | perplexity | guessed right |\n|---|---|---|---|\n",
        rung.name,
        info.family,
        info.layers,
        info.hidden,
        info.parameters,
        info.parameters_without_embeddings,
        ladder.about.trim(),
        seen as f64 / corpus.max(1) as f64,
        recipe.steps,
        recipe.batch_size,
        recipe.length,
        recipe.learning_rate,
        recipe.warmup,
        recipe.seed,
        validations.last().map_or(0, |last| last.guesses.tokens),
    );
    for Validated { step, guesses } in validations {
        text += &format!(
            "| {step} | {:.3} | {:.1} | {:.1} % |\n",
            guesses.loss,
            guesses.perplexity(),
            100.0 * guesses.accuracy
        );
    }
    text += "\nThe head that guesses is the token table itself; there is no other. A model of this size knows words and \
             some grammar, little of the world, and what it writes or says must not be relied on.\n";
    text
}
