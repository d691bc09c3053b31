//! The records of the results page: apet-study for the browser.
//!
//! Records go in and out as JSON text, read and written in Rust only; rows, curves and
//! figures go out as JavaScript objects (their types are in `types.ts`).
//!
//! # Figures
//!
//! [`figures`] lists the figures of apet-study's registry, and [`Records::figure`] computes one of them. A page needs
//! one view for each `kind`, and no knowledge of a figure:
//!
//! * `figures()` gives `FigureInfo[]`: `id`, `title`, `question`, `kind` (`"scatter"`, `"lines"`, `"bars"`), `scope`
//!   (`"task"`: ask for one task at a time; `"study"`: ask for all), `options` (the fields of the query, besides `runs`,
//!   that change it: the controls to show) and `in_report`.
//! * `records.figure(id, query)` takes `{task?, model?, split?, runs?, cost?, smoothing?}` and gives a `FigureData`: `id`,
//!   `title`, `question`, `kind`, the axes `x` and `y` (`label`, `scale`: `"linear"`, `"log"`, `"category"`, and `unit`),
//!   `series`, `references` (horizontal lines), `note` (how to read it, and what was found), `left_out` (keys of runs
//!   that are not drawn) and `text` (the same as Markdown, as the report has it).
//! * A series has a `name`, what its `colour` and its `symbol` stand for, the `panel` it is in (`""` where there is one
//!   panel), `joined` (connect its points, by x) and `points`. A point has `x`, `y`, the ends of its 95 % intervals `low`,
//!   `high`, `x_low`, `x_high` (or null), `marked` (on the Pareto front), `label` (for the tip and the text
//!   alternative) and `runs` (keys of its records, for following it).
//! * On a `"log"` axis a value may be 0 (the head alone tunes no parameter): it stands left of all others. On a
//!   `"category"` axis `x` numbers the categories from 0. A unit of `"score"` is a number from -1 to 1 to be shown in
//!   percent.
//! * `series` is empty where the runs do not answer the question; the view then shows `question`.

use apet_study::{By, Cost, FIGURES, FigureQuery, Filter, Grid, PRESETS, Plan, Study};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("types.ts");

/// The runs that the page shows together. A run is named by its key (run id, `@`, host,
/// `:`, device) or by its run id alone.
#[wasm_bindgen]
#[derive(Default)]
pub struct Records {
    study: Study,
}

#[wasm_bindgen]
impl Records {
    /// No records.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the records of a JSONL text: all of them, or none where one is wrong.
    ///
    /// # Errors
    /// An Error with one sentence: the line, what was found and what was expected.
    #[wasm_bindgen(unchecked_return_type = "AddResult")]
    pub fn add(&mut self, source: &str, text: &str) -> Result<JsValue, JsError> {
        value(&self.study.add(source, text)?)
    }

    /// Drops a run. Says whether there was one.
    pub fn remove(&mut self, run: &str) -> bool {
        self.study.remove(run)
    }

    /// The runs table, in the order of the keys.
    ///
    /// # Errors
    /// Only if the engine is out of memory.
    #[wasm_bindgen(unchecked_return_type = "Row[]")]
    pub fn rows(&self) -> Result<JsValue, JsError> {
        value(&self.study.rows())
    }

    /// The curves of `runs`, the loss smoothed exponentially with `smoothing` from 0 to 0.999.
    ///
    /// # Errors
    /// Only if the engine is out of memory.
    #[wasm_bindgen(unchecked_return_type = "Curve[]")]
    pub fn curves(&self, runs: Vec<String>, smoothing: f64) -> Result<JsValue, JsError> {
        value(&self.study.curves(&runs, smoothing))
    }

    /// Scores against the number of tuned parameters.
    ///
    /// # Errors
    /// When the filter is no object or names a split other than dev and test.
    #[wasm_bindgen(js_name = scoreAgainstCount, unchecked_return_type = "ScoreGroups")]
    pub fn score_against_count(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Filter")] filter: JsValue,
    ) -> Result<JsValue, JsError> {
        value(&self.study.score_against_count(&filter_of(filter)?))
    }

    /// Scores against a cost, with the Pareto front.
    ///
    /// # Errors
    /// When the filter or the cost is none.
    #[wasm_bindgen(js_name = tradeOffs, unchecked_return_type = "ParetoPoint[]")]
    pub fn trade_offs(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Filter")] filter: JsValue,
        #[wasm_bindgen(unchecked_param_type = "Cost")] cost: JsValue,
    ) -> Result<JsValue, JsError> {
        let cost: Cost = read("cost", "a cost", cost)?;
        value(&self.study.trade_offs(&filter_of(filter)?, cost))
    }

    /// `runs` by fields, with means.
    ///
    /// # Errors
    /// When a field is none.
    #[wasm_bindgen(unchecked_return_type = "GroupSummary[]")]
    pub fn grouped(
        &self,
        #[wasm_bindgen(unchecked_param_type = "By[]")] by: JsValue,
        runs: Vec<String>,
    ) -> Result<JsValue, JsError> {
        let by: Vec<By> = read("by", "a list of fields", by)?;
        value(&self.study.grouped(&by, Some(&runs)))
    }

    /// From which counts APET is above its reference, and as good as full fine-tuning, by model and task; of `runs`, or
    /// of all.
    ///
    /// # Errors
    /// Only if the engine is out of memory.
    #[wasm_bindgen(unchecked_return_type = "Thresholds[]")]
    pub fn thresholds(&self, runs: Option<Vec<String>>) -> Result<JsValue, JsError> {
        value(&self.study.thresholds(runs.as_deref()))
    }

    /// How much it matters where APET's parameters are, where placements were crossed with seeds; in `runs`, or in all.
    ///
    /// # Errors
    /// Only if the engine is out of memory.
    #[wasm_bindgen(unchecked_return_type = "Placements")]
    pub fn placements(&self, runs: Option<Vec<String>>) -> Result<JsValue, JsError> {
        value(&self.study.placements(runs.as_deref()))
    }

    /// What `runs`, or all, say about the paper's four claims.
    ///
    /// # Errors
    /// Only if the engine is out of memory.
    #[wasm_bindgen(unchecked_return_type = "ClaimResults")]
    pub fn answers(&self, runs: Option<Vec<String>>) -> Result<JsValue, JsError> {
        value(&self.study.claims(runs.as_deref()))
    }

    /// The figure with this id, of the runs of a query.
    ///
    /// # Errors
    /// When there is no such figure, or a field of the query is wrong.
    #[wasm_bindgen(unchecked_return_type = "FigureData")]
    pub fn figure(
        &self,
        id: &str,
        #[wasm_bindgen(unchecked_param_type = "FigureQuery")] query: JsValue,
    ) -> Result<JsValue, JsError> {
        let Some(figure) = apet_study::figure(id) else {
            let ids: Vec<&str> = FIGURES.iter().map(|figure| figure.id).collect();
            let problem = format!(
                "found the figure {id:?}, expected one of {}",
                ids.join(", ")
            );
            return Err(JsError::new(&problem));
        };
        let expected = "an object {task?, model?, split?, runs?, cost?, smoothing?}";
        let query: FigureQuery = read("query", expected, query)?;
        value(&figure.data(&self.study, &query))
    }

    /// The report of `runs`, or of all, as Markdown.
    pub fn report(&self, name: &str, about: &str, runs: Option<Vec<String>>) -> String {
        self.study.report(name, about, runs.as_deref())
    }

    /// The record of a run as JSONL.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn record(&self, run: &str) -> Result<String, JsError> {
        Ok(self.study.record(run)?.to_jsonl())
    }

    /// The spec of a run as JSON.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn spec(&self, run: &str) -> Result<String, JsError> {
        Ok(serde_json::to_string(&self.study.record(run)?.header.spec)?)
    }
}

/// The figures that there are, those of the report first and in its order.
///
/// # Errors
/// Only if the engine is out of memory.
#[wasm_bindgen(unchecked_return_type = "FigureInfo[]")]
pub fn figures() -> Result<JsValue, JsError> {
    value(&FIGURES)
}

/// The studies that end in minutes, on what comes with the page: the whole one first, each with its runs in order.
///
/// # Errors
/// Only if the engine is out of memory.
#[wasm_bindgen(unchecked_return_type = "Experiment[]")]
pub fn presets() -> Result<JsValue, JsError> {
    let mut presets = Vec::new();
    for text in PRESETS {
        presets.push(Experiment::from_plan(&Plan::new(Grid::parse(text)?)?)?);
    }
    value(&presets)
}

/// A grid's runs.
#[derive(Serialize)]
struct Experiment {
    name: String,
    about: String,
    runs: Vec<Planned>,
}

/// A run that is to be made.
#[derive(Serialize)]
struct Planned {
    /// The run's id.
    run: String,
    /// Its spec as JSON text.
    spec: String,
}

impl Experiment {
    /// Of a plan whose learning rates are given.
    fn from_plan(plan: &Plan) -> Result<Self, serde_json::Error> {
        let grid = plan.grid();
        let specs = (0..plan.len()).filter_map(|run| plan.spec(run, &|_| None).ok());
        let runs = specs.map(|spec| {
            Ok(Planned {
                run: spec.id(),
                spec: serde_json::to_string(&spec)?,
            })
        });
        Ok(Self {
            name: grid.name.clone(),
            about: grid.about.clone(),
            runs: runs.collect::<Result<_, serde_json::Error>>()?,
        })
    }
}

fn filter_of(filter: JsValue) -> Result<Filter, JsError> {
    read("filter", "an object {task?, model?, split?, runs?}", filter)
}

fn read<T: DeserializeOwned>(name: &str, expected: &str, given: JsValue) -> Result<T, JsError> {
    let wrong = |e| JsError::new(&format!("{name}: {e}; expected {expected}"));
    serde_wasm_bindgen::from_value(given).map_err(wrong)
}

/// As JavaScript would have read it from JSON: objects, not maps; null, not undefined.
fn value<T: Serialize>(value: &T) -> Result<JsValue, JsError> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use apet_study::{Level, Spread, Trend, threshold};
    use serde_json::Value;

    const TYPES: &str = include_str!("types.ts");

    const RECORD: &str = concat!(
        r#"{"kind":"header","record":"1.0","run":"0123456789abcdef","spec":{"model":"m","task":{"name":"t"}},"#,
        r#""model":{"name":"m","family":"bert","layers":1,"hidden":8,"parameters":99,"parameters_without_embeddings":9,"weights_hash":""},"#,
        r#""theta":{"method":"apet","requested_parameters":3,"trainable_parameters":3,"head":18,"weights":2},"#,
        r#""task":{"name":"t","labels":["a","b"],"train_rows":1,"dev_rows":1,"test_rows":1,"uniform_guess":0.5,"majority_guess":0.5},"#,
        r#""device":{"name":"cpu","host":"native"},"software":{"apet":"0","burn":"0","target":"x"}}"#,
        "\n",
        r#"{"kind":"step","step":1,"loss":0.7,"rate":0.1,"grad_norm":1.0,"tokens":9,"ms":1.0}"#,
        "\n",
        r#"{"kind":"summary","status":"done","steps":1,"best_step":1,"dev":1.0,"test":1.0,"seconds":1.0}"#,
        "\n",
    );

    /// The fields of an interface in types.ts, those of what it extends among them.
    fn declared(interface: &str) -> BTreeSet<&'static str> {
        let start = format!("export interface {interface} ");
        let (head, rest) = TYPES
            .split_once(&start)
            .unwrap()
            .1
            .split_once("{\n")
            .unwrap();
        let body = rest.split_once("\n}").unwrap().0;
        let base = head.trim().strip_prefix("extends ").map(declared);
        body.lines()
            .filter(|line| !line.trim_start().starts_with("/**"))
            .map(|line| line.trim_start().split([':', '?']).next().unwrap())
            .chain(base.unwrap_or_default())
            .collect()
    }

    /// The types that the page is checked against are those it gets.
    #[test]
    fn the_typescript_types_have_the_fields_of_the_rust_types() {
        let mut records = Records::new();
        let added = records.study.add("x", RECORD).unwrap();
        let study = &records.study;
        let figure = serde_json::to_value(study.score_against_count(&Filter::default())).unwrap();
        let scores = FIGURES[0].data(study, &FigureQuery::default());
        let scores = serde_json::to_value(scores).unwrap();
        let curve = &study.curves(&["0123456789abcdef".into()], 0.0)[0];
        let curve = serde_json::to_value(curve).unwrap();
        let answers = serde_json::to_value(study.claims(None)).unwrap();
        let claim = &answers["claims"][0];
        let demo = Plan::new(Grid::parse(PRESETS[0]).unwrap()).unwrap();
        let demo = Experiment::from_plan(&demo).unwrap();
        let demo = serde_json::to_value(demo).unwrap();
        let traded = &study.trade_offs(&Filter::default(), Cost::Seconds)[0];
        let traded = serde_json::to_value(traded).unwrap();
        let (summed, thresholds) = (study.grouped(&[By::Task], None), study.thresholds(None));
        let points: Vec<(f64, f64)> = (1..9)
            .map(|x| (10f64.powi(x), 0.1 * f64::from(x)))
            .collect();
        let threshold = threshold(&points, Level::Share(0.5)).unwrap();
        let (model, parameters) = (String::new(), 1);
        let [spread, low, high, rest, slope, p] = [0.0; 6];
        let [cells, placements, seeds] = [1; 3];
        #[rustfmt::skip]
        let spread = Spread { model, parameters, cells, placements, seeds, spread, low, high, rest };
        let trend = Trend {
            slope,
            low,
            high,
            p,
        };
        let objects = [
            ("AddResult", serde_json::to_value(added).unwrap()),
            ("Row", serde_json::to_value(&study.rows()[0]).unwrap()),
            ("Point", curve["points"][0].clone()),
            ("Curve", curve),
            ("Group", figure["groups"][0].clone()),
            ("ScoreGroups", figure),
            ("FigureInfo", serde_json::to_value(FIGURES[0]).unwrap()),
            ("Axis", scores["x"].clone()),
            ("Series", scores["series"][0].clone()),
            ("FigurePoint", scores["series"][0]["points"][0].clone()),
            ("Reference", scores["references"][0].clone()),
            ("FigureData", scores),
            ("Estimate", claim["figures"][0].clone()),
            ("ClaimResult", claim.clone()),
            ("ClaimResults", answers.clone()),
            ("Planned", demo["runs"][0].clone()),
            ("Experiment", demo),
            ("Mean", traded["cost"].clone()),
            ("ParetoPoint", traded),
            ("GroupSummary", serde_json::to_value(&summed[0]).unwrap()),
            ("Threshold", serde_json::to_value(threshold).unwrap()),
            ("Thresholds", serde_json::to_value(&thresholds[0]).unwrap()),
            ("Spread", serde_json::to_value(spread).unwrap()),
            ("Trend", serde_json::to_value(trend).unwrap()),
            (
                "Placements",
                serde_json::to_value(study.placements(None)).unwrap(),
            ),
        ];
        for (interface, object) in objects {
            let Value::Object(fields) = object else {
                panic!("{interface}")
            };
            let fields: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
            assert_eq!(fields, declared(interface), "{interface}");
        }
        for field in declared("FigureQuery") {
            let value = match field {
                "split" => Value::from("dev"),
                "runs" => Value::from(vec!["x"]),
                "cost" => Value::from("memory"),
                "smoothing" => Value::from(0.5),
                _ => Value::from("x"),
            };
            let query = serde_json::json!({ field: value });
            let read = serde_json::from_value::<FigureQuery>(query.clone()).unwrap();
            assert_ne!(read, FigureQuery::default(), "{field}");
            if declared("Filter").contains(field) {
                assert!(serde_json::from_value::<Filter>(query).is_ok(), "{field}");
            }
        }
    }

    #[test]
    fn records_and_specs_go_out_as_text() {
        let mut records = Records::new();
        records.study.add("x", RECORD).unwrap();
        let key = "0123456789abcdef@native:cpu";
        let text = records.record(key).ok().unwrap();
        assert_eq!(text.lines().count(), 3);
        let spec: Value = serde_json::from_str(&records.spec(key).ok().unwrap()).unwrap();
        assert_eq!(spec["model"], "m");
        assert!(records.remove(key) && !records.remove(key));
    }
}
