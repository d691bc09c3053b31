//! Gradient checkpointing (Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost"): the
//! forward pass keeps only the input of each block; the backward pass recomputes each block together
//! with the tensors that its gradients need. This costs one more forward pass, and needs the memory of one block.

use apet_plm::{Batch, Encoded, ForwardState, Pass, Prompted, TargetPass};
use apet_record::Objective;
use apet_theta::{DeltaHooks, Partial};
use burn::{Tensor, tensor::Gradients};

use crate::{TrainError, Trainer, timings::StepPhase};

/// A pass of rows through the model.
enum Way<'a> {
    Classes(Box<(Batch, Pass<'a>)>),
    Words(Box<TargetPass<'a>>),
}

impl Trainer<'_> {
    /// Theta's gradient `[parameters]` of `share` times the rows' loss, and that loss `[1]`: equal to that of
    /// one pass over all blocks.
    ///
    /// # Errors
    /// If the model does not support the objective.
    pub(crate) fn gradient_by_block(
        &self,
        rows: &[usize],
        share: f64,
    ) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        let constants = self.theta.constants();
        let frozen = self.theta.hooks(&constants);
        let way = self.way(rows, &frozen)?;
        let pass = match &way {
            Way::Classes(own) => &own.1,
            Way::Words(targets) => &targets.pass,
        };
        // Blocks below the lowest one with trainable parameters are not recomputed.
        let first = match self.theta.layout().lowest_block(self.plm().architecture()) {
            None => pass.pieces(),
            Some(0) => 0,
            Some(block) => pass.piece_of(block),
        };
        let mut flow = pass.piece(0, None, &frozen);
        let mut inputs = vec![None];
        for number in 1..pass.pieces() {
            inputs.push(Some(flow.clone()).filter(|_| number >= first));
            flow = pass.piece(number, Some(flow), &frozen);
        }

        self.stopwatch.lap(StepPhase::Forward);
        let leaves = self.theta.leaves();
        let tap = self.theta.hooks(&leaves);
        let mut partial = Partial::default();
        let last = tracked(flow);
        let loss = self.loss_of(&way, last.states.clone(), rows, &tap) * share;
        let mut gradients = loss.backward();
        partial.add(&leaves, &mut gradients);
        let mut above = gradient_of(last, &mut gradients);
        for (number, before) in inputs.into_iter().enumerate().skip(first).rev() {
            let before = before.map(|flow| if number > first { tracked(flow) } else { flow });
            let after = pass.piece(number, before.clone(), &tap);
            let mut gradients = self.along(after, above).backward();
            partial.add(&leaves, &mut gradients);
            above = before.map_or_else(Default::default, |flow| gradient_of(flow, &mut gradients));
        }
        Ok((self.theta.whole(partial), loss.inner()))
    }

    fn way(&self, rows: &[usize], tap: &DeltaHooks<'_>) -> Result<Way<'_>, TrainError> {
        Ok(match self.spec().objective {
            Objective::ClassHead => {
                let texts: Vec<&Encoded> = self.texts(rows).collect();
                let batch = self.plm().batch(&texts);
                let pass = self.plm().pass(&batch, tap);
                Way::Classes(Box::new((batch, pass)))
            }
            Objective::LabelWords => {
                let asked: Vec<Prompted> = self.asked_of(rows).collect();
                let asked: Vec<&Prompted> = asked.iter().collect();
                Way::Words(Box::new(self.plm().target_pass(&asked, tap)?))
            }
        })
    }

    fn loss_of(
        &self,
        way: &Way<'_>,
        last: Tensor<2>,
        rows: &[usize],
        tap: &DeltaHooks<'_>,
    ) -> Tensor<1> {
        match way {
            Way::Classes(own) => {
                let (batch, _) = &**own;
                let states = self.plm().rows_of(batch, last);
                self.class_loss(batch, states, rows, tap)
            }
            Way::Words(targets) => targets.score(last, tap).losses().mean(),
        }
    }

    /// A number whose gradient is that of the loss: Σ x · dx over what a piece gave.
    fn along(&self, after: ForwardState, above: [Option<Tensor<2>>; 2]) -> Tensor<1> {
        // A block without trainable parameters has no graph.
        let anchor = Tensor::zeros([1], self.plm().device());
        let sum = anchor.autodiff().require_grad();
        let given = [Some(after.states), after.encoded];
        let pairs = given.into_iter().zip(above);
        pairs.fold(sum, |sum, pair| match pair {
            (Some(x), Some(dx)) => sum + (x * dx).sum(),
            _ => sum,
        })
    }
}

/// The same numbers at the beginning of a graph.
fn tracked(flow: ForwardState) -> ForwardState {
    let leaf = |x: Tensor<2>| x.autodiff().require_grad();
    ForwardState {
        states: leaf(flow.states),
        encoded: flow.encoded.map(leaf),
    }
}

/// The gradients of what went into a piece.
fn gradient_of(flow: ForwardState, gradients: &mut Gradients) -> [Option<Tensor<2>>; 2] {
    let mut of = |x: &Tensor<2>| x.grad_remove(gradients);
    [of(&flow.states), flow.encoded.as_ref().and_then(of)]
}
