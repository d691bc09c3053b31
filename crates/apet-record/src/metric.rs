//! Metrics by name; apet-tasks computes them.

use serde::{Deserialize, Serialize};

/// A metric for a task's answers, from 0 to 1 (Matthews from -1); higher is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of correct classes.
    #[default]
    Accuracy,
    /// F1 of the second of two classes.
    F1,
    /// Matthews' correlation coefficient of the classes.
    Matthews,
    /// F1 of the words shared with the best of the correct texts, as in SQuAD; mean over rows.
    SquadF1,
    /// F of the longest common subsequence of stemmed words with the best of the correct texts; mean over rows.
    RougeL,
    /// Corpus BLEU of the whole split, with n-grams up to four words.
    Bleu,
}

impl Metric {
    /// The name in the spec and in a record's evaluations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::Matthews => "matthews",
            Self::SquadF1 => "squad_f1",
            Self::RougeL => "rouge_l",
            Self::Bleu => "bleu",
        }
    }

    /// Name for display.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "F1",
            Self::Matthews => "Matthews' correlation",
            Self::SquadF1 => "F1 of words",
            Self::RougeL => "ROUGE-L",
            Self::Bleu => "BLEU",
        }
    }

    /// Whether answers are texts that a language model generates, not classes.
    pub fn of_texts(self) -> bool {
        matches!(self, Self::SquadF1 | Self::RougeL | Self::Bleu)
    }
}

/// The verbalizer: a language model's word for a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Its label: `positive`.
    #[default]
    Labels,
    /// Its number: `1`.
    Numbers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_by_its_name() {
        for metric in [
            Metric::Accuracy,
            Metric::F1,
            Metric::Matthews,
            Metric::SquadF1,
            Metric::RougeL,
            Metric::Bleu,
        ] {
            let written = serde_json::to_string(&metric).unwrap();
            assert_eq!(written, format!("\"{}\"", metric.name()));
        }
    }
}
