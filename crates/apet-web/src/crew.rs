//! Other Workers of the tab that help with a run on `cpu`, each a thread more.

use apet_train::{GradientWorkers, Shard, ShardGradient};
use js_sys::{Array, Float32Array, Function, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::{error, object};

/// GradientWorkers as functions of JavaScript: `(values: Float32Array, shards: Shard[])` to a promise of
/// `{gradient: Float32Array, loss: number}`.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    members: Vec<Function>,
    asked: Vec<Promise>,
}

impl Crew {
    /// # Errors
    /// When something in `members` is no function.
    pub(crate) fn of(members: &Array) -> Result<Self, JsValue> {
        let members = members.iter().map(|member| member.dyn_into::<Function>());
        Ok(Self {
            members: members.collect::<Result<_, _>>()?,
            asked: Vec::new(),
        })
    }
}

impl GradientWorkers for Crew {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn send(&mut self, values: &[f32], shards: Vec<Vec<Shard>>) -> Result<(), String> {
        let asked = self.members.iter().zip(shards).map(|(member, shards)| {
            let values = Float32Array::from(values); // a copy: its buffer goes to the helper
            let promise = member.call2(&JsValue::NULL, &values, &object(&shards)?)?;
            promise.dyn_into::<Promise>()
        });
        self.asked = asked.collect::<Result<_, _>>().map_err(sentence)?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<ShardGradient>, String> {
        let mut answers = Vec::with_capacity(self.asked.len());
        for asked in std::mem::take(&mut self.asked) {
            let answer = JsFuture::from(asked).await.and_then(read);
            answers.push(answer.map_err(sentence)?);
        }
        Ok(answers)
    }
}

fn read(answer: JsValue) -> Result<ShardGradient, JsValue> {
    let gradient = Reflect::get(&answer, &"gradient".into())?;
    let loss = Reflect::get(&answer, &"loss".into())?.as_f64();
    Ok(ShardGradient {
        gradient: gradient.dyn_into::<Float32Array>()?.to_vec(),
        loss: loss.ok_or_else(|| error("a helper gave no loss"))? as f32,
    })
}

/// An answer as JavaScript has it.
pub(crate) fn written(answer: &ShardGradient) -> Result<JsValue, JsValue> {
    let object = js_sys::Object::new();
    let gradient = Float32Array::from(&answer.gradient[..]);
    Reflect::set(&object, &"gradient".into(), &gradient)?;
    Reflect::set(&object, &"loss".into(), &f64::from(answer.loss).into())?;
    Ok(object.into())
}

fn sentence(error: JsValue) -> String {
    let text = error.dyn_ref::<js_sys::Error>().map(js_sys::Error::message);
    text.map_or_else(
        || "a helping Worker failed".into(),
        |text| format!("a helping Worker failed: {}", String::from(text)),
    )
}
