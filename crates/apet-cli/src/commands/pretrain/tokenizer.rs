//! A tokenizer of a corpus's own: WordPiece for encoders, byte-level BPE for decoders.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use apet_plm::{FAMILIES, Tokenizer, TokenizerKind};
use apet_store::write_atomic;
use apet_train::Marks;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper,
    OffsetReferential, OffsetType, PostProcessorWrapper, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, Trainer,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
        wordpiece::WordPiece,
    },
    normalizers::BertNormalizer,
    pre_tokenizers::{bert::BertPreTokenizer, byte_level::ByteLevel},
    processors::template::TemplateProcessing,
};

/// Special tokens of an encoder, in the order of their ids.
const MARKS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// The token that ends a decoder's text, and its padding.
const ENDS: [&str; 2] = ["</s>", "<pad>"];

/// Letters of a WordPiece vocabulary, at most.
const LETTERS: usize = 200;
/// Where Unicode has room for the letters within words.
const PRIVATE: u32 = 0xE000;

/// The kind of tokenizer that a model's family is pretrained with.
pub(super) fn kind_of(model_type: &str) -> Result<TokenizerKind> {
    let known = FAMILIES
        .iter()
        .filter_map(|family| Some((family.model_types, family.pretraining?)));
    let mut own = known
        .clone()
        .filter(|(names, _)| names.contains(&model_type));
    let names = || -> Vec<&str> {
        known
            .clone()
            .flat_map(|(names, _)| names)
            .copied()
            .collect()
    };
    match own.next() {
        Some((_, kind)) => Ok(kind),
        None => bail!(
            "config.model_type: found {model_type:?}, expected {}",
            names().join(" or ")
        ),
    }
}

/// The name of a tokenizer's file.
fn name_of(kind: TokenizerKind) -> &'static str {
    match kind {
        TokenizerKind::WordPiece => "wordpiece",
        TokenizerKind::ByteLevel => "bytes",
    }
}

/// A trained tokenizer and its file.
pub(super) struct Trained {
    pub(super) json: Vec<u8>,
    pub(super) tokenizer: Tokenizer,
}

impl Trained {
    /// The ids of an encoder's special tokens.
    pub(super) fn marks(&self, kind: TokenizerKind) -> Result<Option<Marks>> {
        if kind == TokenizerKind::ByteLevel {
            return Ok(None);
        }
        let id = |name: &str| {
            let at = MARKS.iter().position(|mark| *mark == name);
            at.map(|at| at as u32).with_context(|| name.to_owned())
        };
        Ok(Some(Marks {
            first: id("[CLS]")?,
            last: id("[SEP]")?,
            mask: id("[MASK]")?,
        }))
    }
}

/// The tokenizer of a corpus, kept in `work`: trained the first time.
pub(super) fn trained(
    kind: TokenizerKind,
    corpus: &Path,
    vocabulary: usize,
    work: &Path,
) -> Result<Trained> {
    // Another text has another tokenizer.
    let text = fs::read(corpus).with_context(|| corpus.display().to_string())?;
    let hash = blake3::hash(&text).to_hex();
    let name = format!(
        "{}.{vocabulary}.{}.tokenizer.json",
        name_of(kind),
        &hash[..8]
    );
    let path = work.join(name);
    if !path.is_file() {
        println!(
            "training a tokenizer of {vocabulary} tokens on {}",
            corpus.display()
        );
        let json = train(kind, corpus, vocabulary)?;
        write_atomic(&path, |out| Ok(out.write_all(json.as_bytes())?))?;
    }
    let json = fs::read(&path).with_context(|| path.display().to_string())?;
    let tokenizer = Tokenizer::read(&path.display().to_string(), &json, vocabulary)?;
    Ok(Trained { json, tokenizer })
}

fn train(kind: TokenizerKind, corpus: &Path, vocabulary: usize) -> Result<String> {
    let tokenizer = match kind {
        TokenizerKind::WordPiece => wordpiece(corpus, vocabulary),
        TokenizerKind::ByteLevel => bytes(corpus, vocabulary),
    };
    let tokenizer = tokenizer?;
    let found = tokenizer.get_vocab_size(true);
    if found < vocabulary {
        println!(
            "{}: has {found} different pieces; the other {} of the vocabulary stay unused",
            corpus.display(),
            vocabulary - found
        );
    }
    tokenizer.to_string(false).map_err(plain)
}

fn plain(e: tokenizers::Error) -> anyhow::Error {
    anyhow::anyhow!("{e}")
}

fn special(names: &[&str]) -> Vec<AddedToken> {
    names
        .iter()
        .map(|name| AddedToken::from(*name, true))
        .collect()
}

/// Does something with every line of a text.
fn each_line(path: &Path, mut act: impl FnMut(String) -> Result<()>) -> Result<()> {
    let shown = || path.display().to_string();
    for line in BufReader::new(fs::File::open(path).with_context(shown)?).lines() {
        act(line.with_context(shown)?)?;
    }
    Ok(())
}

/// Byte-level BPE (Radford et al., 2019).
fn bytes(corpus: &Path, vocabulary: usize) -> Result<tokenizers::Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(bytes)));
    tokenizer.with_post_processor(Some(PostProcessorWrapper::ByteLevel(bytes)));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(bytes)));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .special_tokens(special(&ENDS))
        .build();
    let mut trainer = TrainerWrapper::BpeTrainer(trainer);
    let lines = BufReader::new(fs::File::open(corpus)?).lines();
    let mut problem = None;
    let lines = lines.map_while(|line| line.map_err(|e| problem = Some(e)).ok());
    tokenizer.train(&mut trainer, lines).map_err(plain)?;
    match problem {
        Some(e) => Err(e).context(corpus.display().to_string()),
        None => Ok(tokenizer),
    }
}

/// WordPiece with the vocabulary that BPE finds, as `tokenizers` itself trains it, but always the same for the
/// same text: its trainer numbers the pieces within words in the order of a hash table. Here they are
/// separate letters, in a private part of Unicode, until the vocabulary is complete.
fn wordpiece(corpus: &Path, vocabulary: usize) -> Result<tokenizers::Tokenizer> {
    let normalizer = BertNormalizer::new(true, true, None, true);
    let split_words = |line: &str| -> Result<Vec<String>> {
        let mut text = NormalizedString::from(line);
        normalizer.normalize(&mut text).map_err(plain)?;
        let mut text = PreTokenizedString::from(text);
        BertPreTokenizer.pre_tokenize(&mut text).map_err(plain)?;
        let words = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(words
            .into_iter()
            .map(|(word, ..)| word.to_owned())
            .collect())
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    each_line(corpus, |line| {
        for word in split_words(&line)? {
            *counts.entry(word).or_default() += 1;
        }
        Ok(())
    })?;
    let mut letters: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in &counts {
        word.chars()
            .for_each(|c| *letters.entry(c).or_default() += count);
    }
    // The commonest; words with others become [UNK].
    let mut letters: Vec<(u64, char)> = letters.into_iter().map(|(c, n)| (n, c)).collect();
    letters.sort_by_key(|&(count, letter)| (Reverse(count), letter));
    letters.truncate(LETTERS);
    let letters: Vec<char> = letters.into_iter().map(|(_, letter)| letter).collect();
    let within = |letter: char| {
        let at = letters.iter().position(|&l| l == letter)?;
        char::from_u32(PRIVATE + at as u32)
    };
    let disguised = |word: &str| -> Option<String> {
        let mut all = word.chars();
        let first = all.next().filter(|first| letters.contains(first))?;
        let rest: Option<String> = all.map(within).collect();
        Some(format!("{first}{}", rest?))
    };
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocabulary - MARKS.len())
        .show_progress(false)
        .build();
    let repeated = counts.iter().filter_map(|(word, &count)| {
        let word = disguised(word)?;
        Some(std::iter::repeat_n(word, count as usize))
    });
    let one = |word: &str| Ok(vec![word.to_owned()]);
    trainer.feed(repeated.flatten(), one).map_err(plain)?;
    let mut found = BPE::default();
    trainer.train(&mut found).map_err(plain)?;
    let mut pieces: Vec<(u32, String)> = found
        .get_vocab()
        .into_iter()
        .map(|(piece, id)| (id, piece))
        .collect();
    pieces.sort_unstable();
    let plainly = |piece: String| -> String {
        let own = |c: char| {
            (c as u32)
                .checked_sub(PRIVATE)
                .and_then(|at| letters.get(at as usize))
        };
        let inside = piece.chars().next().and_then(own).is_some();
        let text: String = piece
            .chars()
            .map(|c| own(c).copied().unwrap_or(c))
            .collect();
        if inside { format!("##{text}") } else { text }
    };
    let marks = MARKS.iter().map(|&mark| mark.to_owned());
    let pieces = marks.chain(pieces.into_iter().map(|(_, piece)| plainly(piece)));
    let vocab: serde_json::Map<String, serde_json::Value> = pieces
        .enumerate()
        .map(|(id, piece)| (piece, id.into()))
        .collect();
    let model = serde_json::json!({
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocab,
    });
    let model: WordPiece = serde_json::from_str(&model.to_string())?;
    let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::WordPiece(model));
    tokenizer
        .with_normalizer(Some(NormalizerWrapper::BertNormalizer(normalizer)))
        .map_err(plain)?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::BertPreTokenizer(
        BertPreTokenizer,
    )));
    let template = TemplateProcessing::builder()
        .try_single("[CLS] $A [SEP]")
        .and_then(|b| b.try_pair("[CLS] $A [SEP] $B:1 [SEP]:1"))
        .map_err(|e| anyhow::anyhow!("{e}"))?
        .special_tokens(vec![("[CLS]", 2), ("[SEP]", 3)])
        .build()?;
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Template(template)));
    let decoder = tokenizers::decoders::wordpiece::WordPiece::default();
    tokenizer.with_decoder(Some(DecoderWrapper::WordPiece(decoder)));
    tokenizer
        .add_special_tokens(special(&MARKS))
        .map_err(plain)?;
    Ok(tokenizer)
}
