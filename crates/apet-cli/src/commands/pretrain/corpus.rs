//! A corpus as token ids: cut once, and kept beside.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use apet_plm::TokenizerKind;
use apet_store::write_atomic;

use super::tokenizer::Trained;

/// Lines that a thread cuts at once.
const LINES: usize = 4096;

/// The ids of a text, paragraph after paragraph; a decoder's end with the end of text at an empty line.
pub(super) fn tokens(
    trained: &Trained,
    kind: TokenizerKind,
    text: &Path,
    work: &Path,
) -> Result<Vec<u16>> {
    let shown = text.display().to_string();
    let content = fs::read(text).with_context(|| shown.clone())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&trained.json);
    hasher.update(&content);
    let hash = hasher.finalize().to_hex();
    let kept = work.join(format!("{}.tokens", &hash[..16]));
    if !kept.is_file() {
        println!("cutting {shown} into tokens");
        let content = std::str::from_utf8(&content);
        let content = content.with_context(|| format!("{shown}: expected text in UTF-8"))?;
        let lines: Vec<&str> = content.lines().collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let each = lines.len().div_ceil(threads).next_multiple_of(LINES);
        let parts = std::thread::scope(|scope| {
            let jobs: Vec<_> = lines
                .chunks(each)
                .map(|lines| scope.spawn(|| cut(trained, kind, lines)))
                .collect();
            let ended = jobs.into_iter().map(|job| {
                job.join()
                    .unwrap_or_else(|_| anyhow::bail!("a thread failed"))
            });
            ended.collect::<Result<Vec<_>>>()
        })?;
        let bytes: Vec<u8> = parts
            .concat()
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        ensure!(!bytes.is_empty(), "{shown}: found no text");
        write_atomic(&kept, |out| Ok(out.write_all(&bytes)?))?;
    }
    let bytes = fs::read(&kept).with_context(|| kept.display().to_string())?;
    let ids = bytes
        .chunks_exact(2)
        .map(|id| u16::from_le_bytes([id[0], id[1]]));
    Ok(ids.collect())
}

fn cut(trained: &Trained, kind: TokenizerKind, lines: &[&str]) -> Result<Vec<u16>> {
    let mut ids = Vec::new();
    for line in lines {
        if line.trim().is_empty() {
            // The end of a book.
            ids.extend((kind == TokenizerKind::ByteLevel).then_some(0));
            continue;
        }
        let own = trained.tokenizer.plain(line)?;
        ids.extend(own.into_iter().map(|id| id as u16));
        if kind == TokenizerKind::ByteLevel {
            ids.extend(
                trained
                    .tokenizer
                    .plain("\n")?
                    .into_iter()
                    .map(|id| id as u16),
            );
        }
    }
    Ok(ids)
}
