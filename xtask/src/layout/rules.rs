//! The rules, and what is excepted from them. An exception that is no longer needed makes its test fail.

/// Lines of a file.
pub(super) const MOST_LINES: usize = 500;

/// Files that are longer, and why.
pub(super) const LONG_FILES: &[(&str, &str)] = &[
    ("crates/apet-record/src/record.rs", "to be split"),
    ("crates/apet-record/src/spec.rs", "to be split"),
    ("crates/apet-train/src/pretrain.rs", "to be split"),
];

/// Rooms of a crate, the highest rank first: a room imports only from those below. Rooms of one rank do not import from
/// each other. Crates of a few modules have none; there it is enough that no import leads back.
pub(super) const RANKS: &[(&str, &[&str])] = &[
    ("apet-cli", &["commands", "serve studies", "runner"]),
    (
        "apet-store",
        &[
            "fetch",
            "convert",
            "weights",
            "archive builtin",
            "manifest lease theta catalogue mapped pytorch",
            "store",
        ],
    ),
];

/// Import cycles that are known: the crate, and a module of the cycle.
pub(super) const CYCLES: &[(&str, &str)] = &[
    ("apet-kernels", "rows"),
    ("apet-record", "record"),
    ("apet-record", "spec"),
    ("apet-study", "plan::grid"),
    ("apet-tasks", "metrics"),
    ("apet-tasks", "read"),
    ("apet-train", "trainer"),
    ("apet-web", "lab"),
    ("xtask", "bench"),
    ("xtask", "lab"),
];

/// Names that were replaced: the crate (empty: every crate), the old name, the new one. Nothing may be defined under an
/// old one. A rename adds its line here.
pub(super) const OLD_NAMES: &[(&str, &str, &str)] = &[
    ("", "Tap", "LayerHooks"),
    ("", "Outline", "ModelArchitecture"),
    ("", "Room", "MemoryLimits"),
    ("", "Flow", "ForwardState"),
    ("apet-plm", "Place", "InsertionPoint"),
    ("apet-plm", "through", "run_blocks"),
    ("apet-theta", "At", "AttachPoint"),
    ("apet-theta", "Tuned", "DeltaHooks"),
    ("apet-theta", "Structure", "DeltaKind"),
    ("apet-theta", "Ground", "BuildContext"),
    ("apet-theta", "Recipe", "LayoutBuilder"),
    ("", "Share", "Shard"),
    ("", "Help", "ShardGradient"),
    ("", "Helpers", "GradientWorkers"),
    ("", "Doing", "StepPhase"),
    ("", "Spent", "StepTimings"),
    ("", "Mate", "WorkerHandle"),
    ("", "summon", "spawn_workers"),
    ("apet-study", "Way", "MethodKey"),
    ("apet-study", "Scene", "TaskCells"),
    ("apet-study", "Scales", "ModelCells"),
    ("apet-study", "Figured", "Estimate"),
    ("apet-study", "Answer", "ClaimResult"),
    ("apet-study", "Told", "ReportInputs"),
    ("apet-study", "Optimised", "ConvergenceStats"),
    ("apet-study", "Traded", "ParetoPoint"),
    ("apet-study", "Summed", "GroupSummary"),
    ("apet-study", "Flat", "TableValue"),
    ("apet-cli", "Crew", "WorkerPool"),
    ("apet-cli", "Made", "RunResult"),
    ("apet-cli", "How", "RunOptions"),
    ("apet-cli", "make", "execute"),
    ("apet-cli", "Folder", "StudyDir"),
    ("", "About", "PlanManifest"),
    ("", "provide", "install_builtin"),
    // A constructor is `new`, `from_x`, `parse` or `open`.
    ("apet-cli", "of", "new or from_x"),
    ("apet-store", "of", "new or from_x"),
];
