//! How answers are scored, by name; what computes it is in apet-tasks.

use serde::{Deserialize, Serialize};

/// How a task's answers are scored: from 0 to 1, Matthews' from -1, and more is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of right classes.
    #[default]
    Accuracy,
    /// F1 of the second of two classes.
    F1,
    /// Matthews' correlation coefficient of the classes.
    Matthews,
    /// Shared words with the best of the right texts, as SQuAD counts them; mean over rows.
    SquadF1,
    /// The longest common subsequence of stemmed words with the best of the right texts, F; mean over rows.
    RougeL,
    /// Shared n-grams of the whole split, up to four words.
    Bleu,
}

impl Metric {
    /// The name as it stands in the spec and in a record's evaluations.
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

    /// What a reader calls it.
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

    /// Whether answers are texts that a language model writes, and no classes.
    pub fn of_texts(self) -> bool {
        matches!(self, Self::SquadF1 | Self::RougeL | Self::Bleu)
    }
}

/// What a class is called in a language model's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
