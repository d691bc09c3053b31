//! One run: a [`RunSpec`](apet_record::RunSpec) becomes optimizer steps and a record.
//!
//! The same code runs in a tab and natively: it is async and has no threads, files
//! or clock; a [`Host`] provides those. The step itself is
//! [`Trainer::step`], the loop around it [`run`].

mod ask;
mod bench;
mod checkpoint;
mod choose;
mod host;
mod landscape;
mod optimizer;
mod plan;
mod pretrain;
mod recompute;
mod rows;
mod run;
mod score;
mod shard;
mod timings;
mod trainer;

pub use ask::{Asked, ask};
pub use bench::{Measured, Part, measure, random_rows};
pub use checkpoint::newest as newest_checkpoint;
pub use choose::choose;
pub use host::{Control, Host};
pub use landscape::{ALONG, ASIDE, landscape};
pub use optimizer::AdamW;
pub use plan::Plan;
pub use pretrain::{Guesses, Marks, Pretrainer, Recipe};
pub use run::{Outcome, RunInput, run, trainer};
pub use score::{Prediction, Scores};
pub use shard::{GradientWorkers, NoWorkers, Shard, ShardGradient};
pub use timings::StepTimings;
pub use trainer::{StepResult, TrainError, Trainer};
