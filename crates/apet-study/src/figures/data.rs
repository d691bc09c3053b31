//! What a figure is made of: its description, the query it answers, and a plot of one of a few kinds.

use serde::{Deserialize, Serialize};

use crate::records::cost::Cost;
use crate::records::entries::Study;
use crate::records::filter::{Filter, Split};

/// A figure: what it shows, and how it is computed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// Its name in addresses and in calls.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The question it answers.
    pub question: &'static str,
    /// How it is drawn.
    pub kind: Kind,
    /// Which runs one drawing is of.
    pub scope: Scope,
    /// Fields of the query that it depends on, besides `runs`.
    pub options: &'static [&'static str],
    /// Whether the report has it.
    pub in_report: bool,
    #[serde(skip)]
    pub(crate) compute: fn(&Study, &FigureQuery) -> Content,
}

/// How a figure is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Points with intervals; the points of a joined series are connected.
    Scatter,
    /// A line for each series.
    Lines,
    /// A bar with an interval for each category.
    Bars,
}

/// Which runs one drawing of a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those of one task.
    Task,
    /// All runs of the query.
    Study,
}

/// Which runs a figure is of, and its settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FigureQuery {
    /// A task by name; all where absent.
    pub task: Option<String>,
    /// A model by name; all where absent.
    pub model: Option<String>,
    /// The split whose score is shown.
    pub split: Split,
    /// Records by key; all where absent.
    pub runs: Option<Vec<String>>,
    /// The cost that scores are compared with.
    pub cost: Cost,
    /// Weight of the exponential smoothing of losses, 0 to 0.999.
    pub smoothing: f64,
}

impl FigureQuery {
    /// The query as a filter of runs.
    pub fn filter(&self) -> Filter {
        Filter {
            task: self.task.clone(),
            model: self.model.clone(),
            split: self.split,
            runs: self.runs.clone(),
        }
    }

    /// Whether a model and a task are asked for.
    pub(crate) fn has(&self, model: &str, task: &str) -> bool {
        let is = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|a| a == name);
        is(&self.model, model) && is(&self.task, task)
    }
}

/// What a figure shows of the runs of a query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureData {
    /// As [`Figure::id`].
    pub id: &'static str,
    /// As [`Figure::title`].
    pub title: &'static str,
    /// As [`Figure::question`].
    pub question: &'static str,
    /// As [`Figure::kind`].
    pub kind: Kind,
    /// The plot and its text.
    #[serde(flatten)]
    pub content: Content,
}

/// A plot, and the same as Markdown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Content {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn; empty where the runs say nothing.
    pub series: Vec<Series>,
    /// Horizontal lines that the points are compared with.
    pub references: Vec<Reference>,
    /// How to read it, and what was found, in a few sentences.
    pub note: String,
    /// Keys of runs that match the query and are not drawn.
    pub left_out: Vec<String>,
    /// The same as Markdown; empty where the runs say nothing.
    pub text: String,
}

/// An axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// Its label.
    pub label: String,
    /// How values are laid out.
    pub scale: Scale,
    /// What values are.
    pub unit: Unit,
}

impl Axis {
    pub(crate) fn new(label: impl Into<String>, scale: Scale, unit: Unit) -> Self {
        Self {
            label: label.into(),
            scale,
            unit,
        }
    }
}

/// How an axis lays out values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// In proportion.
    Linear,
    /// By their logarithm; 0 has a place left of all others.
    Log,
    /// Points by their category, in the order in which they come.
    Category,
}

/// The unit of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A number of parameters.
    Parameters,
    /// A score from -1 to 1, shown in percent.
    Score,
    /// Hundredths of a score.
    Points,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Optimizer steps.
    Steps,
    /// Nats of loss.
    Nats,
    /// A ratio.
    Factor,
    /// A length in parameter space.
    Distance,
    /// None: categories.
    None,
}

/// Points that belong together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// What its colour stands for: a model or a task. Series with the same one have the same colour.
    pub colour: String,
    /// What its symbol stands for: a method, or how a value was found.
    pub symbol: String,
    /// The panel it is in; empty where there is one panel.
    pub panel: String,
    /// Whether its points are connected.
    pub joined: bool,
    /// Its points.
    pub points: Vec<FigurePoint>,
}

/// A point with its interval and its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FigurePoint {
    /// Place on the horizontal axis; the number of the category where the axis has categories.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Lower end of the 95 % interval of the value.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Lower end of the 95 % interval of the place.
    pub x_low: Option<f64>,
    /// Upper end.
    pub x_high: Option<f64>,
    /// Whether it stands out: it is on the Pareto front.
    pub marked: bool,
    /// A sentence about the point.
    pub label: String,
    /// Keys of its records.
    pub runs: Vec<String>,
}

/// A horizontal line that points are compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// Value on the vertical axis.
    pub value: f64,
    /// What it stands for.
    pub label: String,
    /// As [`Series::colour`]; empty where it belongs to no model.
    pub colour: String,
}

impl Figure {
    /// The figure of the runs of a query.
    pub fn data(&self, study: &Study, query: &FigureQuery) -> FigureData {
        FigureData {
            id: self.id,
            title: self.title,
            question: self.question,
            kind: self.kind,
            content: (self.compute)(study, query),
        }
    }
}
