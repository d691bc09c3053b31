//! Records for tests.

use apet_record::{
    Apet, DeviceInfo, Eval, Header, Line, Method, ModelInfo, Pool, RECORD_VERSION, RunRecord,
    RunSpec, Seeds, SoftwareInfo, Status, Step, Summary, TaskInfo, ThetaInfo,
};

/// A run in short. Its loss falls from 0.75 by 0.25 a step to 0.25 at least.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) model: &'static str,
    pub(crate) method: &'static str,
    pub(crate) count: u64,
    pub(crate) seed: u64,
    pub(crate) rate: f64,
    pub(crate) steps: usize,
    pub(crate) status: Status,
    pub(crate) dev: Option<f64>,
    pub(crate) test: Option<f64>,
    pub(crate) host: &'static str,
    pub(crate) device: &'static str,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            model: "minilm-l6",
            method: "apet",
            count: 10_000,
            seed: 1,
            rate: 1e-3,
            steps: 1,
            status: Status::Done,
            dev: Some(0.5),
            test: Some(0.5),
            host: "native",
            device: "cpu",
        }
    }
}

impl Run {
    pub(crate) fn spec(&self) -> RunSpec {
        let mut spec = RunSpec::new(self.model, "sst2");
        spec.seeds = Seeds::all(self.seed);
        spec.optimizer.learning_rate = self.rate;
        spec.method = match self.method {
            "apet" => Method::Apet(Apet {
                count: self.count.into(),
                pool: Pool::default(),
                select: Default::default(),
            }),
            "head" => Method::Head(Default::default()),
            _ => Method::full(),
        };
        spec
    }

    /// The record as JSONL; an unfinished run has no summary.
    pub(crate) fn text(&self) -> String {
        let spec = self.spec();
        let mut record = RunRecord {
            header: Header {
                record: RECORD_VERSION.into(),
                run: spec.id(),
                model: ModelInfo {
                    parameters: 22_000_000,
                    ..ModelInfo::default()
                },
                theta: ThetaInfo {
                    requested_parameters: self.count,
                    trainable_parameters: if self.method == "head" { 0 } else { self.count },
                    ..ThetaInfo::default()
                },
                task: TaskInfo {
                    uniform_guess: 0.5,
                    majority_guess: 0.52,
                    ..TaskInfo::default()
                },
                device: DeviceInfo {
                    name: self.device.into(),
                    host: self.host.into(),
                    ..DeviceInfo::default()
                },
                software: SoftwareInfo::default(),
                started: "2026-01-01T00:00:00Z".into(),
                spec,
                extra: Default::default(),
            },
            lines: Vec::new(),
            truncated: false,
        };
        for step in 1..=self.steps {
            record.lines.push(Line::Step(Step {
                step,
                loss: (1.0 - 0.25 * step as f64).max(0.25),
                learning_rate: self.rate,
                grad_norm: 1.0,
                tokens: 100,
                ms: 10.0,
                extra: Default::default(),
            }));
        }
        for step in [1, self.steps] {
            record.lines.extend(self.dev.map(|score| {
                Line::Eval(Eval {
                    step,
                    split: "dev".into(),
                    metric: "accuracy".into(),
                    score,
                    loss: Some(0.6),
                    rows: 100,
                    extra: Default::default(),
                })
            }));
        }
        if self.status != Status::Unfinished {
            record.lines.push(Line::Summary(Summary {
                status: self.status,
                steps: self.steps,
                best_step: self.steps,
                dev: self.dev,
                test: self.test,
                seconds: 1.5,
                peak_bytes: None,
                message: String::new(),
                extra: Default::default(),
            }));
        }
        record.to_jsonl()
    }
}
