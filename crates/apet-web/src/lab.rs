//! The Lab: a device, a model, a task, and runs with them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use apet_plm::{Dtype, Encoded, Frozen, Plm};
use apet_record::{RunSpec, SoftwareInfo, Status, TaskSpec, ThetaInfo, record_name};
use apet_tasks::{SplitFile, SplitFiles, Task};
use apet_theta::{Layout, Theta};
use apet_train::{
    GradientWorkers, Measured, Plan, RunInput, Shard, TrainError, Trainer, ask, measure,
};
use js_sys::{Array, Float32Array, Function, Promise, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::{
    crew::{Crew, written},
    device::{self, Opened},
    error,
    model::ModelFiles,
    object, recoverable, start,
    tab::{Asked, Tab, milliseconds},
};

/// A device of the tab with a model and a task on it.
#[wasm_bindgen]
pub struct Lab {
    opened: Opened,
    model: RefCell<Option<Rc<Plm>>>,
    task: RefCell<Option<Rc<Task>>>,
    asked: Cell<Asked>,
    running: Cell<bool>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    #[serde(with = "serde_bytes")] // a Uint8Array, copied once
    bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Files {
    train: File,
    dev: Option<File>,
    test: Option<File>,
}

impl From<File> for SplitFile {
    fn from(file: File) -> Self {
        Self {
            name: file.name,
            bytes: file.bytes,
        }
    }
}

#[wasm_bindgen]
impl Lab {
    /// Opens a device: `webgpu` or `cpu`.
    pub async fn open(device: String) -> Result<Lab, JsValue> {
        Ok(Self {
            opened: device::open(&device).await?,
            model: RefCell::new(None),
            task: RefCell::new(None),
            asked: Cell::new(Asked::Go),
            running: Cell::new(false),
        })
    }

    /// `{name, adapter, host}`
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> Result<JsValue, JsValue> {
        object(&self.opened.info)
    }

    /// The shards that the text of a `model.safetensors.index.json` names.
    #[wasm_bindgen(js_name = shardsOf)]
    pub fn shards_of(&self, name: &str, index: &str) -> Result<Vec<String>, JsValue> {
        let file = format!("{name}/model.safetensors.index.json");
        apet_plm::shards_of_index(&file, index, ".safetensors").map_err(error)
    }

    /// Checks that the lab supports a model and that it fits this device. Only the headers of its
    /// `weights`, `[{name, size}]`, need to be in `models/NAME/`.
    #[wasm_bindgen(js_name = checkModel)]
    pub async fn check_model(&self, name: String, weights: JsValue) -> Result<(), JsValue> {
        let weights = serde_wasm_bindgen::from_value(weights).map_err(error)?;
        let files = ModelFiles::open(&name, weights).await?;
        files.give(|files| {
            let architecture = Plm::check(files)?;
            self.opened
                .limits
                .fits(files.weights.file(), &architecture.sites)
        })
    }

    /// Loads a model from its files in `models/NAME/`; gives its name and sizes.
    #[wasm_bindgen(js_name = loadModel)]
    pub async fn load_model(&self, name: String, weights: JsValue) -> Result<JsValue, JsValue> {
        self.model.replace(None); // two models at once may be too much for a tab
        let weights = serde_wasm_bindgen::from_value(weights).map_err(error)?;
        let files = ModelFiles::open(&name, weights).await?;
        let plm = files.give(|files| Plm::load(files, Dtype::F32, &self.opened.device))?;
        let info = object(plm.info())?;
        self.model.replace(Some(Rc::new(plm)));
        Ok(info)
    }

    /// The loaded model's token ids of each text, special tokens included.
    pub fn tokenize(&self, texts: Vec<String>) -> Result<JsValue, JsValue> {
        let plm = self.model()?;
        let texts = texts.iter().map(|text| (text.as_str(), None));
        let encoded = plm
            .tokenizer()
            .encode(texts, plm.max_length())
            .map_err(error)?;
        object(&encoded.into_iter().map(|e| e.ids).collect::<Vec<_>>())
    }

    /// Continues token ids greedily by at most `most` tokens each, with the loaded model
    /// untuned. Returns the new tokens, without the end token.
    pub async fn generate(&self, prompts: JsValue, most: usize) -> Result<JsValue, JsValue> {
        let prompts: Vec<Vec<u32>> = serde_wasm_bindgen::from_value(prompts).map_err(error)?;
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let plm = self.model()?;
        let written = plm.generate(&prompts, most, plm.ends(), &Frozen).await;
        object(&written.map_err(error)?)
    }

    /// What the loaded model with a theta file of `spec` answers to a text (or two) where the loaded task asks:
    /// `{classes: [share, ...]}`, in the order of its labels, or `{text}`.
    pub async fn ask(
        &self,
        spec: String,
        theta: Vec<u8>,
        text: String,
        pair: Option<String>,
    ) -> Result<JsValue, JsValue> {
        let spec = RunSpec::from_json(&spec).map_err(error)?;
        let plm = self.model()?;
        let task = self.task.borrow().clone();
        let task = task.ok_or_else(|| error("no task is loaded"))?;
        let theta = Theta::read(&plm, &theta).map_err(error)?;
        let answer = ask(&plm, &task, &spec, theta, (text, pair)).await;
        object(&answer.map_err(error)?)
    }

    /// Loads a task from its files, `{train: {name, bytes}, dev?, test?}`; gives its labels, rows and guess lines.
    #[wasm_bindgen(js_name = loadTask)]
    pub fn load_task(&self, task: &str, seed: f64, files: JsValue) -> Result<JsValue, JsValue> {
        let spec: TaskSpec = serde_json::from_str(task).map_err(|e| error(format!("task: {e}")))?;
        let files: Files = serde_wasm_bindgen::from_value(files).map_err(error)?;
        let files = SplitFiles {
            train: vec![files.train.into()],
            dev: files.dev.into_iter().map(Into::into).collect(),
            test: files.test.into_iter().map(Into::into).collect(),
        };
        let task = apet_tasks::load(&spec, seed as u64, files).map_err(error)?;
        let info = object(&task.info())?;
        self.task.replace(Some(Rc::new(task)));
        Ok(info)
    }

    /// The spec with every default, as JSON.
    #[wasm_bindgen(js_name = defaultSpec)]
    pub fn default_spec(&self, model: &str, task: &str) -> Result<String, JsValue> {
        serde_json::to_string(&RunSpec::new(model, task)).map_err(error)
    }

    /// The name under which the tab's store keeps what a spec leaves on this device.
    #[wasm_bindgen(js_name = recordName)]
    pub fn record_name(&self, spec: &str) -> Result<String, JsValue> {
        let spec = RunSpec::from_json(spec).map_err(error)?;
        Ok(record_name(&spec.id(), &self.opened.info.name))
    }

    /// What a spec would tune on the loaded model: counts.
    pub fn describe(&self, spec: &str) -> Result<JsValue, JsValue> {
        let spec = RunSpec::from_json(spec).map_err(error)?;
        let plm = self.model()?;
        let classes = self.classes();
        let layout = Layout::new(plm.architecture(), &spec, classes, None, plm.device());
        object(&layout.map_err(error)?.info)
    }

    /// What a run of a spec would take on the loaded model and task: `{peak, operations}`, bytes held at once and floating
    /// point operations, at most.
    pub fn plan(&self, spec: &str) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Planned {
            peak: f64,
            operations: f64,
        }
        let spec = RunSpec::from_json(spec).map_err(error)?;
        let plm = self.model()?;
        let task = self.task.borrow().clone();
        let task = task.ok_or_else(|| error("no task is loaded"))?;
        let classes = task.labels.len();
        let plan = Plan::new(plm.architecture(), &spec, classes).map_err(error)?;
        object(&Planned {
            peak: plan.peak() as f64,
            operations: plan.operations(&spec, classes, (task.dev.len(), task.test.len())),
        })
    }

    /// A theta file of `spec` as an adapter of Hugging Face peft: `{config, weights, head?, note}`, what
    /// `adapter_config.json`, `adapter_model.safetensors` and `head.safetensors` contain.
    #[wasm_bindgen(js_name = toPeft)]
    pub async fn to_peft(&self, spec: String, theta: Vec<u8>) -> Result<JsValue, JsValue> {
        let spec = RunSpec::from_json(&spec).map_err(error)?;
        let plm = self.model()?;
        let theta = Theta::read(&plm, &theta).map_err(error)?;
        let values = values(&theta).await?;
        let purpose = (spec.objective, spec.head.pooling);
        let adapter = theta
            .to_peft(&plm, &plm.info().name, &values, purpose)
            .await;
        let adapter = adapter.map_err(error)?;
        let found = js_sys::Object::new();
        let set = |name: &str, value: JsValue| Reflect::set(&found, &name.into(), &value);
        set("config", adapter.config.into())?;
        set("note", adapter.note.into())?;
        set("weights", Uint8Array::from(&adapter.weights[..]).into())?;
        if let Some(head) = adapter.head {
            set("head", Uint8Array::from(&head[..]).into())?;
        }
        Ok(found.into())
    }

    /// How far a theta file of `spec` is from what it began with, `[[block, part, length], ...]`.
    pub async fn moved(&self, spec: String, theta: Vec<u8>) -> Result<JsValue, JsValue> {
        let spec = RunSpec::from_json(&spec).map_err(error)?;
        let plm = self.model()?;
        let theta = Theta::read(&plm, &theta).map_err(error)?;
        let begun = match start::of(&spec).await? {
            Some(file) => Theta::read(&plm, &file).map_err(error)?,
            None => Theta::of(&plm, spec.seeds.init, theta.layout().clone()),
        };
        let (begun, ended) = (values(&begun).await?, values(&theta).await?);
        object(&theta.layout().apart(plm.architecture(), &begun, &ended))
    }

    /// Where a spec's parameters would lie on the loaded model: counts by block and part, and
    /// for each tensor a grid of at most `cells` x `cells`.
    pub fn positions(&self, spec: &str, cells: usize) -> Result<JsValue, JsValue> {
        let spec = RunSpec::from_json(spec).map_err(error)?;
        let plm = self.model()?;
        let classes = self.classes();
        let layout = Layout::new(plm.architecture(), &spec, classes, None, plm.device());
        object(
            &layout
                .map_err(error)?
                .position_map(plm.architecture(), cells),
        )
    }

    /// Runs a spec with the loaded model and task, from its last checkpoint if there is one.
    /// `on_event` gets `{line}` for each line of the record and `{progress}` meanwhile. Each of
    /// `helpers` is a function that takes values of theta and shards to a promise of a gradient and its
    /// loss: what [`Lab::assist`] makes in another Worker.
    pub async fn run(
        &self,
        spec: String,
        on_event: Function,
        reason: Option<String>,
        helpers: Array,
    ) -> Result<(), JsValue> {
        if self.running.replace(true) {
            return Err(error("a run is going on in this Worker; stop it first"));
        }
        self.asked.set(Asked::Go);
        let result = self
            .run_one(&spec, &on_event, reason.unwrap_or_default(), &helpers)
            .await;
        self.running.set(false);
        result
    }

    /// Pauses after the present step.
    pub fn pause(&self) {
        self.asked.set(Asked::Pause);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.asked.set(Asked::Go);
    }

    /// Ends the run after the present step; it can be resumed.
    pub fn stop(&self) {
        self.asked.set(Asked::Stop);
    }

    /// Measures steps of a spec on the loaded model with the given rows, `[{ids, label}]`: `warmup` of them, then
    /// `train.steps` times a forward pass, a gradient and a step. Gives what they took, the
    /// losses, and theta's initial values in the order of its flat vector. `on_part` gets the name of
    /// each part that is done; `helpers` as in [`Lab::run`].
    pub async fn bench(
        &self,
        spec: String,
        rows: JsValue,
        warmup: usize,
        on_part: Function,
        helpers: Array,
    ) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Benched<'a> {
            #[serde(flatten)]
            measured: Measured,
            theta: &'a ThetaInfo,
        }
        let spec = RunSpec::from_json(&spec).map_err(error)?;
        let plm = self.model()?;
        let mut crew = Crew::of(&helpers)?;
        let mut trainer = on_rows(&plm, &spec, rows)?;
        let initial = trainer.theta().values().into_data_async().await;
        let initial = initial.map_err(error)?.try_to_vec::<f32>();
        let done = |part| {
            // A page that cannot listen is no reason to stop.
            let _ = object(&part).map(|part| on_part.call1(&JsValue::NULL, &part));
        };
        let measured = measure(&mut trainer, &mut crew, warmup, milliseconds, done).await;
        let found = object(&Benched {
            measured: measured.map_err(error)?,
            theta: trainer.theta().info(),
        })?;
        let initial = initial.map_err(|e| error(format!("{e:?}")))?;
        let initial = Float32Array::from(&initial[..]);
        Reflect::set(&found, &"initial".into(), &initial)?;
        Ok(found)
    }

    /// Helps another Worker with a run on the loaded model and task, or on rows as in [`Lab::bench`]. `next`
    /// takes the last answer (nothing at first) to a promise of what is asked then, `{values, shards}`, or of
    /// nothing at the end.
    pub async fn assist(&self, spec: String, next: Function, rows: JsValue) -> Result<(), JsValue> {
        let spec = RunSpec::from_json(&spec).map_err(error)?;
        let plm = self.model()?;
        let task = self.task.borrow().clone();
        let mut trainer = match task {
            _ if !rows.is_undefined() => on_rows(&plm, &spec, rows)?,
            Some(task) => apet_train::trainer(&plm, &task, &spec)
                .await
                .map_err(error)?,
            None => return Err(error("no task is loaded")),
        };
        let mut answer = JsValue::UNDEFINED;
        loop {
            let asked: Promise = next.call1(&JsValue::NULL, &answer)?.dyn_into()?;
            let asked = JsFuture::from(asked).await?;
            if asked.is_undefined() {
                return Ok(());
            }
            let values = Reflect::get(&asked, &"values".into())?.dyn_into::<Float32Array>()?;
            let shards = Reflect::get(&asked, &"shards".into())?;
            let shards: Vec<Shard> = serde_wasm_bindgen::from_value(shards).map_err(error)?;
            let found = trainer.shard_gradient(values.to_vec(), &shards).await;
            answer = written(&found.map_err(error)?)?;
        }
    }

    /// Compares every operation and gradient on this device with double precision:
    /// `[{name, error, tolerance, passes}]`.
    pub async fn check(&self) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Checked {
            name: String,
            error: f64,
            tolerance: f64,
            passes: bool,
        }
        let checks = apet_kernels::check(&self.opened.device)
            .await
            .map_err(error)?;
        let checks = checks.into_iter().map(|c| Checked {
            passes: c.passes(),
            name: c.name,
            error: c.error,
            tolerance: c.tolerance,
        });
        object(&checks.collect::<Vec<_>>())
    }
}

impl Lab {
    async fn run_one(
        &self,
        spec: &str,
        on_event: &Function,
        reason: String,
        helpers: &Array,
    ) -> Result<(), JsValue> {
        let spec = RunSpec::from_json(spec).map_err(error)?;
        let plm = self.model()?;
        let task = self
            .task
            .borrow()
            .clone()
            .ok_or_else(|| error("no task is loaded"))?;
        let crew = Crew::of(helpers)?;
        let mut device = self.opened.info.clone();
        if crew.count() > 0 {
            device.adapter = format!("wasm SIMD, {} threads", crew.count() + 1);
        }
        let mut tab = Tab::open(&spec, &self.opened, on_event, &self.asked, crew).await?;
        let checkpoint = tab.resume(&task.info()).map_err(error)?;
        let input = RunInput {
            plm: &plm,
            task: &task,
            spec: &spec,
            device,
            software: SoftwareInfo {
                apet: env!("CARGO_PKG_VERSION").into(),
                burn: "0.22.1".into(),
                target: "wasm32".into(),
                extra: Default::default(),
            },
            mask: None,
            start: start::of(&spec).await?,
            started: js_sys::Date::new_0().to_iso_string().into(),
            checkpoint,
            reason,
            read_every: self.opened.read_every,
        };
        match apet_train::run(input, &mut tab).await {
            Ok(outcome) => {
                tab.end(&outcome.theta, outcome.summary.status == Status::Stopped)
                    .await
            }
            Err(e @ TrainError::Device(_)) => Err(recoverable(e)),
            Err(e) => Err(error(e)),
        }
    }

    /// The loaded task's number of labels; 2 without a task.
    pub(crate) fn classes(&self) -> usize {
        self.task.borrow().as_ref().map_or(2, |t| t.labels.len())
    }

    pub(crate) fn model(&self) -> Result<Rc<Plm>, JsValue> {
        let model = self.model.borrow().clone();
        model.ok_or_else(|| error("no model is loaded"))
    }
}

/// Theta's values, read back from the device.
pub(crate) async fn values(theta: &Theta) -> Result<Vec<f32>, JsValue> {
    let data = theta.values().into_data_async().await.map_err(error)?;
    let values = data.try_to_vec::<f32>();
    values.map_err(|e| error(format!("{e:?}")))
}

/// Token ids with their class, as the page gives them.
#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    label: usize,
}

/// A trainer on rows of the page's own, `[{ids, label}]`.
fn on_rows<'a>(plm: &'a Plm, spec: &RunSpec, rows: JsValue) -> Result<Trainer<'a>, JsValue> {
    let rows: Vec<Row> = serde_wasm_bindgen::from_value(rows).map_err(error)?;
    let (batch, words) = (
        spec.train.batch_size,
        plm.architecture().config.vocabulary(),
    );
    if rows.len() < batch {
        let found = rows.len();
        return Err(error(format!(
            "rows: found {found}, expected train.batch_size, {batch}"
        )));
    }
    let usable = |row: &Row| {
        let length = 1..=spec.task.max_length;
        length.contains(&row.ids.len()) && row.ids.iter().all(|&id| (id as usize) < words)
    };
    if let Some(row) = rows.iter().position(|row| !usable(row)) {
        return Err(error(format!(
            "rows[{row}].ids: expected 1 to task.max_length, {}, tokens below {words}",
            spec.task.max_length
        )));
    }
    let classes = rows.iter().map(|row| row.label + 1).max().unwrap_or(1);
    let rows = rows.into_iter().map(|Row { ids, label }| {
        let types = vec![0; ids.len()];
        (Encoded { ids, types }, label)
    });
    Trainer::on(plm, spec, classes, rows.collect()).map_err(error)
}
