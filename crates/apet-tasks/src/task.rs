//! A loaded task, its guess lines and its metric.

use apet_record::{Metric, TaskInfo, Words};

/// One row: a text or a pair of texts, and the correct answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The (first) text.
    pub text: String,
    /// The second text of a sentence pair.
    pub pair: Option<String>,
    /// The correct answer.
    pub answer: Answer,
}

/// The correct answer of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Class number: a position in [`Task::labels`].
    Class(usize),
    /// All correct texts, at least one; a run learns the first.
    Texts(Vec<String>),
}

impl Answer {
    /// The class, if the answer is one.
    pub fn class(&self) -> Option<usize> {
        match self {
            Self::Class(class) => Some(*class),
            Self::Texts(_) => None,
        }
    }
}

/// A task, ready to be tokenized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Name in the spec.
    pub name: String,
    /// Class names in label order; empty if answers are texts.
    pub labels: Vec<String>,
    /// The metric that scores answers.
    pub metric: Metric,
    /// The verbalizer: a language model's words for the classes.
    pub words: Words,
    /// A word for each class, which overrides `words`; empty if `words` applies.
    pub label_words: Vec<String>,
    /// Prompt template with `{text}` and `{pair}`; the paper's prompt if absent.
    pub template: Option<String>,
    /// Maximum length in tokens of an answer that is a text.
    pub target_length: usize,
    /// Rows for training.
    pub train: Vec<Example>,
    /// Rows on which the best step is chosen.
    pub dev: Vec<Example>,
    /// Rows scored once at the end.
    pub test: Vec<Example>,
    /// Columns of the text and of the second text, named in the prompt.
    pub columns: (String, Option<String>),
    /// How missing splits were drawn; empty if the source has all.
    pub split_note: String,
}

impl Task {
    /// The task's entry in a record's header.
    pub fn info(&self) -> TaskInfo {
        TaskInfo {
            name: self.name.clone(),
            labels: self.labels.clone(),
            metric: self.metric,
            train_rows: self.train.len(),
            dev_rows: self.dev.len(),
            test_rows: self.test.len(),
            uniform_guess: match self.labels.len() {
                0 => 0.0,
                classes => 1.0 / classes as f64,
            },
            majority_guess: self.majority_guess(),
            split_note: self.split_note.clone(),
            data_hash: self.data_hash(),
            ..TaskInfo::default()
        }
    }

    /// The prompt for a row: the task's template, or the paper's (section 4), `Input: sentence: ... Output:`,
    /// which the label's word follows.
    pub fn prompt(&self, example: &Example) -> String {
        if let Some(template) = &self.template {
            return fill_template(template, example);
        }
        let (text, pair) = (&self.columns.0, self.columns.1.as_deref());
        let second = example.pair.as_deref().zip(pair);
        let second = second.map_or(String::new(), |(value, name)| format!(" {name}: {value}"));
        format!("Input: {text}: {}{second} Output:", example.text)
    }

    /// A language model's word for a class.
    pub fn word(&self, class: usize) -> String {
        if let Some(word) = self.label_words.get(class) {
            return word.clone();
        }
        match self.words {
            Words::Labels => self.labels[class].clone(),
            Words::Numbers => class.to_string(),
        }
    }

    /// Accuracy of always answering dev's most frequent class, on dev.
    fn majority_guess(&self) -> f64 {
        let rows_of = |class| {
            let right = self.dev.iter().filter(|e| e.answer == Answer::Class(class));
            right.count()
        };
        let most = (0..self.labels.len()).map(rows_of).max().unwrap_or(0);
        most as f64 / self.dev.len().max(1) as f64
    }

    /// BLAKE3, hexadecimal, of the labels and of every row in use, in order.
    fn data_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        // Every text is prefixed with its length, so that no two tasks give the same bytes.
        let mut text = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        let mut number = |n: usize| text(&n.to_string());
        number(self.labels.len());
        for split in [&self.train, &self.dev, &self.test] {
            number(split.len());
        }
        self.labels.iter().for_each(|label| text(label));
        for example in [&self.train, &self.dev, &self.test].into_iter().flatten() {
            text(&example.text);
            let (kind, pair) = example
                .pair
                .as_deref()
                .map_or(("single", ""), |pair| ("pair", pair));
            text(kind);
            text(pair);
            match &example.answer {
                Answer::Class(class) => text(&class.to_string()),
                Answer::Texts(texts) => {
                    text(&format!("{} texts", texts.len()));
                    texts.iter().for_each(|right| text(right));
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Fills a template with a row's texts; braces within the texts are kept.
fn fill_template(template: &str, example: &Example) -> String {
    let pair = example.pair.as_deref().unwrap_or_default();
    let mut prompt = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        prompt.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{text}") {
            prompt.push_str(&example.text);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{pair}") {
            prompt.push_str(pair);
            rest = after;
        } else {
            prompt.push('{');
            rest = &rest[1..];
        }
    }
    prompt + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_the_texts_as_they_are() {
        let mut task = task();
        task.template = Some("Is {text} {so}? {pair} {text".into());
        let row = example("{pair}", Some("{text}"), 0);
        assert_eq!(task.prompt(&row), "Is {pair} {so}? {text} {text");
        task.label_words = vec!["wrong".into(), "right".into(), "who knows".into()];
        assert_eq!(task.word(1), "right");
    }

    fn example(text: &str, pair: Option<&str>, label: usize) -> Example {
        Example {
            text: text.into(),
            pair: pair.map(Into::into),
            answer: Answer::Class(label),
        }
    }

    fn task() -> Task {
        Task {
            name: "t".into(),
            labels: vec!["no".into(), "yes".into(), "perhaps".into()],
            train: vec![example("a", None, 0), example("bc", None, 1)],
            dev: vec![
                example("d", None, 1),
                example("e", None, 1),
                example("f", None, 0),
            ],
            test: vec![example("g", Some("h"), 2)],
            columns: ("text".into(), Some("second".into())),
            ..Task::default()
        }
    }

    #[test]
    fn a_prompt_has_the_texts_by_the_names_of_their_columns() {
        let task = task();
        assert_eq!(task.prompt(&task.train[0]), "Input: text: a Output:");
        assert_eq!(
            task.prompt(&task.test[0]),
            "Input: text: g second: h Output:"
        );
    }

    #[test]
    fn the_info_has_counts_and_guess_lines() {
        let info = task().info();
        assert_eq!((info.train_rows, info.dev_rows, info.test_rows), (2, 3, 1));
        assert_eq!(info.uniform_guess, 1.0 / 3.0);
        assert_eq!(info.majority_guess, 2.0 / 3.0);
        assert_eq!(info.data_hash.len(), 64);
    }

    #[test]
    fn every_change_of_the_rows_changes_the_hash() {
        let changes: [fn(&mut Task); 11] = [
            |t| t.labels.swap(0, 1),
            |t| t.train.swap(0, 1),
            |t| t.train[0].answer = Answer::Class(1),
            |t| t.train[0].pair = Some(String::new()),
            |t| {
                let last = t.train.pop().unwrap();
                t.dev.insert(0, last);
            },
            |t| (t.train[0].text, t.train[1].text) = ("ab".into(), "c".into()),
            |t| (t.test[0].text, t.test[0].pair) = ("gh".into(), Some(String::new())),
            |t| t.test[0].pair = None,
            |t| t.train[0].answer = Answer::Texts(vec!["0".into()]),
            |t| t.train[0].answer = Answer::Texts(vec!["0".into(), "1".into()]),
            |t| t.train[0].answer = Answer::Texts(vec!["01".into()]),
        ];
        let mut hashes = vec![task().info().data_hash];
        for change in changes {
            let mut changed = task();
            change(&mut changed);
            hashes.push(changed.info().data_hash);
        }
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), changes.len() + 1);
        let renamed = Task {
            name: "u".into(),
            split_note: "x".into(),
            ..task()
        };
        assert_eq!(renamed.info().data_hash, task().info().data_hash);
    }

    /// Guarantees that equal data have equal hashes across versions.
    #[test]
    fn the_hash_is_pinned() {
        assert_eq!(
            task().info().data_hash,
            "fd4d4d86f7275537eae3ee4eaeae1baa893227fe60b08a2e20401cc34531773f"
        );
    }
}
