//! A task's rows as a model reads them: token ids, and what is right.

use apet_plm::{Encoded, Kind, Plm, PlmError, Prompted};
use apet_record::{Objective, RunSpec};
use apet_tasks::{Answer, Example, Task};

/// Tokenized rows and what is right for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) texts: Vec<Encoded>,
    pub(crate) answers: Answers,
}

/// What is right for rows.
#[derive(Clone, Debug)]
pub(crate) enum Answers {
    /// Classes.
    Classes(Vec<usize>),
    /// Texts.
    Texts(Vec<Target>),
}

impl Default for Answers {
    fn default() -> Self {
        Self::Classes(Vec::new())
    }
}

/// A text that is right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// What is learned: the first right text, cut to the task's length, and the model's end.
    pub(crate) ids: Vec<u32>,
    /// Every right text.
    pub(crate) right: Vec<String>,
}

impl Rows {
    pub(crate) fn new(
        plm: &Plm,
        task: &Task,
        examples: &[Example],
        spec: &RunSpec,
    ) -> Result<Self, PlmError> {
        Ok(Self {
            texts: texts(plm, task, examples, spec)?,
            answers: answers(plm, task, examples)?,
        })
    }

    /// Rows of classes.
    pub(crate) fn of_classes(texts: Vec<Encoded>, classes: Vec<usize>) -> Self {
        let answers = Answers::Classes(classes);
        Self { texts, answers }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// A row's class; 0 where answers are texts.
    pub(crate) fn class(&self, row: usize) -> usize {
        match &self.answers {
            Answers::Classes(classes) => classes[row],
            Answers::Texts(_) => 0,
        }
    }

    /// A row's prompt followed by its correct answer: the class's word, or the text.
    pub(crate) fn answered(&self, row: usize, words: &[Vec<u32>]) -> Prompted {
        let right = match &self.answers {
            Answers::Classes(classes) => &words[classes[row]],
            Answers::Texts(texts) => &texts[row].ids,
        };
        self.asked(row, right)
    }

    /// A row's prompt followed by `target`.
    pub(crate) fn asked(&self, row: usize, target: &[u32]) -> Prompted {
        Prompted {
            source: self.texts[row].ids.clone(),
            target: target.to_vec(),
        }
    }
}

fn texts(
    plm: &Plm,
    task: &Task,
    examples: &[Example],
    spec: &RunSpec,
) -> Result<Vec<Encoded>, PlmError> {
    let most = spec.task.max_length;
    match spec.objective {
        Objective::ClassHead => {
            let texts = examples
                .iter()
                .map(|e| (e.text.as_str(), e.pair.as_deref()));
            plm.tokenizer().encode(texts, most)
        }
        Objective::LabelWords => {
            let prompts: Vec<String> = examples.iter().map(|e| task.prompt(e)).collect();
            let texts = prompts.iter().map(|prompt| (prompt.as_str(), None));
            let mut texts = plm.tokenizer().encode(texts, usize::MAX)?;
            // Cut at the beginning: a prompt's end is what asks.
            for text in &mut texts {
                let over = text.ids.len().saturating_sub(most);
                text.ids.drain(..over);
                text.types.drain(..over);
            }
            Ok(texts)
        }
    }
}

fn answers(plm: &Plm, task: &Task, examples: &[Example]) -> Result<Answers, PlmError> {
    if !task.metric.of_texts() {
        let classes = examples.iter().map(|e| e.answer.class().unwrap_or(0));
        return Ok(Answers::Classes(classes.collect()));
    }
    let targets = examples.iter().map(|example| {
        let right = match &example.answer {
            Answer::Texts(texts) => texts.clone(),
            Answer::Class(class) => vec![task.word(*class)],
        };
        let mut ids = match right.first() {
            Some(text) => written(plm, text)?,
            None => Vec::new(),
        };
        ids.truncate(task.target_length);
        Ok(Target { ids, right })
    });
    Ok(Answers::Texts(targets.collect::<Result<_, PlmError>>()?))
}

/// The labels' words, each followed by the model's end token.
pub(crate) fn words(plm: &Plm, task: &Task) -> Result<Vec<Vec<u32>>, PlmError> {
    let classes = 0..task.labels.len();
    classes
        .map(|class| written(plm, &task.word(class)))
        .collect()
}

/// A text as a model should generate it, with the end token. A decoder continues the prompt, so there the text
/// starts with a space.
fn written(plm: &Plm, text: &str) -> Result<Vec<u32>, PlmError> {
    let space = if plm.kind() == Kind::Decoder { " " } else { "" };
    let mut ids = plm.tokenizer().plain(&format!("{space}{text}"))?;
    ids.extend(plm.ends().first());
    Ok(ids)
}

#[cfg(test)]
mod tests;
