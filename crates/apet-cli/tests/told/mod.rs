//! What two runs of one spec have in common.

use apet_record::RunRecord;

/// A record without what two undisturbed runs of it differ in.
pub(crate) fn told(record: &RunRecord) -> String {
    let steps: Vec<_> = record
        .steps()
        .iter()
        .map(|step| (step.step, step.loss, step.grad_norm))
        .collect();
    let evals = |split| -> Vec<_> {
        let evals = record.evals(split);
        evals
            .iter()
            .map(|eval| (eval.step, eval.score, eval.loss))
            .collect()
    };
    let summary = record
        .summary()
        .map(|s| (s.status, s.steps, s.best_step, s.dev, s.test));
    let header = &record.header;
    format!(
        "{} {:?} {:?} {steps:?} {:?} {:?} {summary:?}",
        header.run,
        header.theta,
        header.task,
        evals("dev"),
        evals("test")
    )
}
