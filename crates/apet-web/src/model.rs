//! A model's files in the origin's private file system: the tab reads them there, piece
//! by piece, so that no file is ever in memory as a whole.

use apet_plm::{PlmError, PlmFiles, ReadAt, Safetensors};
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use crate::{
    error,
    files::{OpenFile, folder},
};

/// A file of weights, as JavaScript names it.
#[derive(Deserialize)]
pub(crate) struct Part {
    name: String,
    /// Bytes of the whole file; fewer may be there yet.
    size: f64,
}

/// A file of weights of which at least the header is there.
struct Weights {
    file: OpenFile,
    size: u64,
}

impl ReadAt for Weights {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        if self.file.read_at(offset as f64, into)? == into.len() {
            Ok(())
        } else {
            Err("the file ends too early".into())
        }
    }
}

/// A model's opened files.
pub(crate) struct ModelFiles {
    name: String,
    config: String,
    tokenizer: Vec<u8>,
    weights: Safetensors<Weights>,
}

impl ModelFiles {
    /// Opens `models/NAME/`; `parts` is the one file of weights, or the shards.
    pub(crate) async fn open(name: &str, parts: Vec<Part>) -> Result<Self, JsValue> {
        let place = folder(&format!("models/{name}")).await?;
        let text = async |file: &str| {
            let opened = OpenFile::open(&place, file).await?;
            opened.read().map_err(error)
        };
        let config = text("config.json").await?;
        let tokenizer = text("tokenizer.json").await?;
        let file = match &parts[..] {
            [one] => format!("{name}/{}", one.name),
            _ => format!("{name}/model.safetensors.index.json"),
        };
        let mut weights = Vec::new();
        for part in parts {
            let opened = Weights {
                file: OpenFile::open(&place, &part.name).await?,
                size: part.size as u64,
            };
            weights.push((format!("{name}/{}", part.name), opened));
        }
        Ok(Self {
            name: name.to_owned(),
            // What is no text is no JSON either, and refused as such.
            config: String::from_utf8_lossy(&config).into_owned(),
            tokenizer,
            weights: Safetensors::open(&file, weights).map_err(error)?,
        })
    }

    /// Gives the files to a function of `apet-plm`.
    pub(crate) fn give<T>(
        &self,
        to: impl FnOnce(PlmFiles<'_>) -> Result<T, PlmError>,
    ) -> Result<T, JsValue> {
        let files = PlmFiles {
            name: &self.name,
            config: &self.config,
            tokenizer: &self.tokenizer,
            weights: &self.weights,
        };
        to(files).map_err(error)
    }
}
