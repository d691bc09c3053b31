//! A tokenizer of a corpus's own: WordPiece for encoders, byte-level BPE for decoders.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use apet_plm::Tokenizer;
use apet_train::Marks;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
        wordpiece::{WordPiece, WordPieceTrainer},
    },
    normalizers::BertNormalizer,
    pre_tokenizers::{bert::BertPreTokenizer, byte_level::ByteLevel},
    processors::template::TemplateProcessing,
};

use crate::store::write_atomic;

/// Special tokens of an encoder, in the order of their ids.
const MARKS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// The token that ends a decoder's text, and its padding.
const ENDS: [&str; 2] = ["</s>", "<pad>"];

/// What a family's texts are cut by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    WordPiece,
    ByteLevel,
}

impl Kind {
    /// The kind of a model's family.
    pub(super) fn of(model_type: &str) -> Result<Self> {
        match model_type {
            "bert" => Ok(Self::WordPiece),
            "bloom" => Ok(Self::ByteLevel),
            other => bail!("config.model_type: found {other:?}, expected bert or bloom"),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WordPiece => "wordpiece",
            Self::ByteLevel => "bytes",
        }
    }
}

/// A trained tokenizer and its file.
pub(super) struct Trained {
    pub(super) json: Vec<u8>,
    pub(super) tokenizer: Tokenizer,
}

impl Trained {
    /// The ids of an encoder's special tokens.
    pub(super) fn marks(&self, kind: Kind) -> Result<Option<Marks>> {
        if kind == Kind::ByteLevel {
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
    kind: Kind,
    corpus: &Path,
    vocabulary: usize,
    work: &Path,
) -> Result<Trained> {
    let path = work.join(format!("{}.{vocabulary}.tokenizer.json", kind.name()));
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

fn train(kind: Kind, corpus: &Path, vocabulary: usize) -> Result<String> {
    let wrong = |e: tokenizers::Error| anyhow::anyhow!("{e}");
    let special = |names: &[&str]| {
        names
            .iter()
            .map(|name| AddedToken::from(*name, true))
            .collect::<Vec<_>>()
    };
    let (mut tokenizer, mut trainer) = match kind {
        Kind::WordPiece => {
            let model = WordPiece::builder()
                .unk_token("[UNK]".into())
                .build()
                .map_err(wrong)?;
            let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::WordPiece(model));
            let normalizer = BertNormalizer::new(true, true, None, true);
            tokenizer
                .with_normalizer(Some(NormalizerWrapper::BertNormalizer(normalizer)))
                .map_err(wrong)?;
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
            let trainer = WordPieceTrainer::builder()
                .vocab_size(vocabulary)
                .limit_alphabet(200)
                .show_progress(false)
                .special_tokens(special(&MARKS))
                .build();
            (tokenizer, TrainerWrapper::WordPieceTrainer(trainer))
        }
        Kind::ByteLevel => {
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
            (tokenizer, TrainerWrapper::BpeTrainer(trainer))
        }
    };
    let shown = corpus.display().to_string();
    let lines = BufReader::new(fs::File::open(corpus).with_context(|| shown.clone())?).lines();
    let mut problem = None;
    let lines = lines.map_while(|line| line.map_err(|e| problem = Some(e)).ok());
    tokenizer.train(&mut trainer, lines).map_err(wrong)?;
    if let Some(e) = problem {
        return Err(e).context(shown);
    }
    let found = tokenizer.get_vocab_size(true);
    if found < vocabulary {
        println!(
            "{shown}: has {found} different pieces; the other {} of the vocabulary stay unused",
            vocabulary - found
        );
    }
    tokenizer.to_string(false).map_err(wrong)
}
